"""Servers of others for the measures: PostgreSQL, PgBouncer, Redis, HAProxy as a line or a balancer, each on a free port of loopback.

Each ends with the process that started it, however that ends. Start them in the main thread: the kernel ends them with the thread.
"""

import base64
import contextlib
import ctypes
import hashlib
import http.client
import os
import pathlib
import random
import secrets
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time

import rig

URL = "postgres://postgres@127.0.0.1:{}/{}"
PROGRAMS = {"pgbouncer": "pgbouncer", "redis-server": "redis-server", "redis-sentinel": "redis-sentinel", "redis-cli": "redis-tools",
            "haproxy": "haproxy"}
# What a key has from the one that is there already, `k`, behind its id and its hash.
KEY_COLUMNS = "k.user_id, k.tenant_id, k.name, k.hint, k.scope, k.created_ms, NULL, NULL"
# The slot of a cluster that has the keys of the product's queue.
SLOT = 1_188


def need():
    """Ends the script with a sentence when a program is missing."""
    missing = [package for program, package in PROGRAMS.items() if not shutil.which(program)]
    missing += [] if postgres_programs() else ["postgresql-15"]
    if missing:
        raise SystemExit(f"missing: apt install {' '.join(missing)}")
    if not rig.BINARY.exists():
        raise SystemExit(f"missing: {rig.BINARY} (cargo build --release --locked --features full)")


def postgres_programs():
    return max(pathlib.Path("/usr/lib/postgresql").glob("*/bin"), default=None)


@contextlib.contextmanager
def open_folder():
    """A folder for everything of a run that the user of PostgreSQL may enter too."""
    with tempfile.TemporaryDirectory(prefix="measure-", dir=os.environ.get("MEASURE_DIR"), ignore_cleanup_errors=True) as folder:
        pathlib.Path(folder).chmod(0o755)
        yield pathlib.Path(folder)


def free_port():
    """Below those that the kernel gives to clients: one that tries to reach a server that is down must not connect to itself."""
    while True:
        port = random.randrange(12_000, 22_000)
        with socket.socket() as it, contextlib.suppress(OSError):
            it.bind(("127.0.0.1", port))
            return port


def die_with_us():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def until(what, done, seconds=60, pause=0.02):
    """The first true answer of `done`, which may fail with what a server that is not there gives."""
    ends = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if found := done():
                return found
        if time.monotonic() > ends:
            raise SystemExit(f"waited in vain for {what}")
        time.sleep(pause)


class Process:
    """A program, started again and again with the same words."""

    def __init__(self, command, log, user=None):
        self.command, self.log, self.user = command, log, user

    def start(self):
        with open(self.log, "ab") as log:
            self.child = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, user=self.user, group=self.user,
                extra_groups=[] if self.user else None, preexec_fn=die_with_us)

    def send(self, which):
        self.child.send_signal(which)

    def end(self, how=signal.SIGKILL):
        self.child.send_signal(how)
        self.child.wait(60)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.child.poll() is None:
            self.end()


class Session:
    """A session of PostgreSQL, by its own protocol: enough for `trust` and simple queries."""

    def __init__(self, port, database="postgres"):
        self.socket = socket.create_connection(("127.0.0.1", port), 10)
        words = f"user\0postgres\0database\0{database}\0\0".encode()
        self.socket.sendall(struct.pack("!II", len(words) + 8, 196608) + words)
        self.answer()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def answer(self):
        rows = []
        while True:
            kind, length = struct.unpack("!cI", self.read(5))
            body = self.read(length - 4)
            if kind == b"D":
                rows.append(read_row(body))
            elif kind == b"E":
                raise OSError(body.decode(errors="replace"))
            elif kind == b"Z":
                return rows

    def read(self, count):
        found = b""
        while len(found) < count:
            piece = self.socket.recv(count - len(found))
            if not piece:
                raise OSError("the session ended")
            found += piece
        return found

    def run(self, sql):
        """The rows, each a list of texts."""
        text = sql.encode() + b"\0"
        self.socket.sendall(b"Q" + struct.pack("!I", len(text) + 4) + text)
        return self.answer()


def read_row(body):
    (count,), at, values = struct.unpack_from("!H", body), 2, []
    for _ in range(count):
        (length,) = struct.unpack_from("!i", body, at)
        at += 4
        values.append(None if length < 0 else body[at:at + length].decode())
        at += max(0, length)
    return values


class Postgres(Process):
    """A server with a cluster of its own, that syncs as it does by default."""

    def __init__(self, folder):
        self.port = free_port()
        owner = "postgres" if os.geteuid() == 0 else None
        home, programs = folder / "postgres", postgres_programs()
        home.mkdir()
        if owner:
            shutil.chown(home, owner, owner)
        subprocess.run([programs / "initdb", "-A", "trust", "-U", "postgres", "-E", "UTF8", "-D", home / "data"], check=True,
                       stdout=subprocess.DEVNULL, user=owner, group=owner, extra_groups=[] if owner else None, cwd=home)
        settings = [f"port={self.port}", "listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=60"]
        words = [word for it in settings for word in ("-c", it)]
        super().__init__([programs / "postgres", "-D", home / "data", *words], folder / "postgres.log", owner)
        self.start()

    def start(self):
        super().start()
        until("PostgreSQL", self.answers)

    def answers(self):
        # While processes of the one before still end, it refuses to start.
        if self.child.poll() is not None:
            super().start()
        with self.session():
            return True

    def session(self, database="postgres"):
        return Session(self.port, database)

    def make(self, database):
        """Makes a database; its URL."""
        with self.session() as session:
            session.run(f"CREATE DATABASE {database}")
        return URL.format(self.port, database)

    def kill(self):
        """All its processes at once, as when the machine dies."""
        for pid in rig.family(self.child.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.child.wait(60)

    def make_keys(self, count, database="postgres"):
        """API keys like the one that is there already: one key may make 1,000 calls in 15 minutes."""
        keys = [make_key() for _ in range(count)]
        rows = ",".join(f"('\\x{secrets.token_hex(16)}'::bytea, '\\x{hashlib.sha256(it.encode()).hexdigest()}'::bytea)" for it in keys)
        with self.session(database) as session:
            session.run(f"INSERT INTO api_key SELECT v.id, v.hash, {KEY_COLUMNS} "
                        f"FROM (SELECT * FROM api_key ORDER BY id LIMIT 1) k, (VALUES {rows}) AS v (id, hash)")
        return keys


def make_key():
    """A key as `domain::api_key` makes them."""
    words = lambda it: base64.urlsafe_b64encode(it).rstrip(b"=").decode()
    secret = words(secrets.token_bytes(32))
    return f"ch_{secret}{words(hashlib.sha256(secret.encode()).digest())[:6]}"


class Pooler(Process):
    """PgBouncer in transaction mode before a PostgreSQL."""

    def __init__(self, folder, postgres_port, size):
        self.port = free_port()
        text = (f"[databases]\n* = host=127.0.0.1 port={postgres_port} user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
                f"listen_port = {self.port}\nunix_socket_dir =\nauth_type = any\npool_mode = transaction\n"
                f"default_pool_size = {size}\nmax_client_conn = 1000\nserver_login_retry = 1\n")
        (folder / "pgbouncer.ini").write_text(text)
        (folder / "pgbouncer.ini").chmod(0o644)
        super().__init__(["pgbouncer", folder / "pgbouncer.ini"], folder / "pgbouncer.log", "postgres" if os.geteuid() == 0 else None)
        self.start()

    def start(self):
        super().start()
        until("PgBouncer", self.answers)

    def answers(self):
        with Session(self.port):
            return True


class Redis(Process):
    """A Redis that syncs each change to its log, as the queue wants it."""

    def __init__(self, folder, sync="always", name="redis", more=()):
        self.port, self.folder = free_port(), folder / name
        self.folder.mkdir()
        super().__init__(["redis-server", "--bind", "127.0.0.1", "--port", str(self.port), "--save", "", "--appendonly", "yes",
                          "--appendfsync", sync, "--dir", self.folder, *more], folder / f"{name}.log")
        self.url = f"redis://127.0.0.1:{self.port}"
        self.start()

    def start(self):
        super().start()
        until("Redis", lambda: self.ask("PING") == "+PONG")

    def ask(self, *words):
        """The first line of the answer."""
        with socket.create_connection(("127.0.0.1", self.port), 10) as line, line.makefile("rb") as answer:
            line.sendall(" ".join(words).encode() + b"\r\n")
            return answer.readline().decode().strip()

    def tell(self, *words):
        """All lines of the answer."""
        return redis_cli(self.port, *words)


def redis_cli(port, *words):
    told = subprocess.run(["redis-cli", "-p", str(port), *map(str, words)], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    return told.stdout.strip()


class Watched:
    """A master with two replicas, and three Sentinels that begin a failover a second after it is gone."""

    def __init__(self, folder, stack):
        quick = ("--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1")
        self.servers = [stack.enter_context(Redis(folder, name="redis-0", more=quick))]
        follow = (*quick, "--replicaof", "127.0.0.1", str(self.servers[0].port))
        self.servers += [stack.enter_context(Redis(folder, name=f"redis-{it}", more=follow)) for it in (1, 2)]
        self.ports = [self.sentinel(folder, stack, it) for it in range(3)]
        self.url = f"redis+sentinel://{','.join(f'127.0.0.1:{it}' for it in self.ports)}/main"
        self.agree()

    def sentinel(self, folder, stack, number):
        port, path = free_port(), folder / f"sentinel-{number}.conf"
        path.write_text(f"port {port}\nbind 127.0.0.1\ndir {folder}\nsentinel monitor main 127.0.0.1 {self.servers[0].port} 2\n"
                        "sentinel down-after-milliseconds main 1000\nsentinel failover-timeout main 3000\n")
        process = stack.enter_context(Process(["redis-sentinel", path], path.with_suffix(".log")))
        process.start()
        until("a Sentinel", lambda: redis_cli(port, "PING") == "PONG")
        return port

    def agree(self):
        """Waits until each Sentinel could do a failover to either replica."""
        good = lambda text: "flags\nslave\n" in text and "master-link-status\nok\n" in text
        known = lambda port: sum(map(good, redis_cli(port, "SENTINEL", "replicas", "main").split("name\n")))
        quorum = lambda port: redis_cli(port, "SENTINEL", "ckquorum", "main").startswith("OK 3 ")
        until("the Sentinels to agree", lambda: all(known(it) == 2 and quorum(it) for it in self.ports), 120)

    def kill_master(self):
        """What brings the killed server back as a replica."""
        port = int(redis_cli(self.ports[0], "SENTINEL", "get-master-addr-by-name", "main").split("\n")[1])
        [server] = [it for it in self.servers if it.port == port]
        server.end()

        def mend():
            server.start()
            self.agree()

        return mend


class Cluster:
    """Three masters, and a replica of the one with the slot of the queue."""

    def __init__(self, folder, stack):
        enabled = ("--cluster-enabled", "yes", "--cluster-node-timeout", "2000")
        self.servers = [stack.enter_context(Redis(folder, name=f"redis-{it}", more=enabled)) for it in range(4)]
        nodes = [f"127.0.0.1:{it.port}" for it in self.servers]
        self.url = f"redis+cluster://{','.join(nodes)}"
        subprocess.run(["redis-cli", "--cluster", "create", *nodes[:3], "--cluster-yes"], check=True, stdout=subprocess.DEVNULL)
        self.well(3)
        first, last = self.servers[0], self.servers[3]
        last.tell("CLUSTER", "MEET", "127.0.0.1", first.port)
        until("a replica", lambda: last.tell("CLUSTER", "REPLICATE", first.tell("CLUSTER", "MYID")) == "OK")
        self.well(4)

    def well(self, count):
        good = lambda it: "cluster_state:ok" in it.tell("CLUSTER", "INFO") and it.tell("CLUSTER", "NODES").count(" connected") == count
        until("the cluster", lambda: all(map(good, self.servers[:count])), 120)
        follows = lambda it: it.tell("ROLE").startswith("master") or "master_link_status:up" in it.tell("INFO", "replication")
        until("the replica to follow", lambda: all(map(follows, self.servers[:count])), 120)

    def owner(self):
        """The master of the slot: of the first and the last server one is it."""
        return next(it for it in (self.servers[0], self.servers[3]) if it.tell("ROLE").startswith("master"))

    def kill_master(self):
        server = self.owner()
        server.end()

        def mend():
            server.start()
            self.well(4)

        return mend

    def move_slot(self):
        """To another node and back, key by key."""
        ways = [(self.owner(), self.servers[1]), (self.servers[1], self.owner())]
        for source, target in ways:
            ids = {it: it.tell("CLUSTER", "MYID") for it in self.servers}
            target.tell("CLUSTER", "SETSLOT", SLOT, "IMPORTING", ids[source])
            source.tell("CLUSTER", "SETSLOT", SLOT, "MIGRATING", ids[target])
            while keys := source.tell("CLUSTER", "GETKEYSINSLOT", SLOT, 50).split():
                source.tell("MIGRATE", "127.0.0.1", target.port, "", 0, 20_000, "KEYS", *keys)
            masters = [it for it in self.servers if it.tell("ROLE").startswith("master") and it not in (source, target)]
            for it in (target, source, *masters):
                it.tell("CLUSTER", "SETSLOT", SLOT, "NODE", ids[target])


class Haproxy(Process):
    """HAProxy with these sections."""

    def __init__(self, folder, name, text):
        path = folder / f"{name}.cfg"
        path.write_text(f"global\n  maxconn 2000\ndefaults\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n{text}")
        # Without a master and workers: one process, which can be stopped and killed as one.
        super().__init__(["haproxy", "-db", "-f", path], folder / f"{name}.log")
        self.start()


class Line(Haproxy):
    """A line to a server: stopped it is silent and takes what comes, killed it is reset."""

    def __init__(self, folder, name, port):
        self.port = free_port()
        super().__init__(folder, name, f"listen line\n  mode tcp\n  bind 127.0.0.1:{self.port}\n  server it 127.0.0.1:{port}\n")

    def start(self):
        super().start()
        until("a line", lambda: socket.create_connection(("127.0.0.1", self.port), 1).close() is None)

    def cut(self, seconds):
        """Silent for so long, then reset; it is whole again afterwards."""
        self.send(signal.SIGSTOP)
        time.sleep(seconds)
        self.end()
        self.start()
