"""Installations for `benches/faults`, each with the faults that it can meet.

A fault returns when its cause is over, or what mends it once all is served again.
"""

import contextlib
import hashlib
import http.client
import os
import secrets
import signal
import sqlite3
import subprocess
import time

import rig
import servers

SILENT_S = 10
FULL_S = 5
SMALL_MB = 800
KEYS_AT_FIRST = 6_000


def nothing(_):
    """No fault: what its rates differ by is what those of the others differ by at least."""


class Shared:
    """A web node and two workers on PostgreSQL, Redis and one folder of bytes."""

    clients, hex = 8, "encode({}, 'hex')"
    # Faults in which nobody is there who could serve visitors.
    dark = ()

    def __init__(self, folder, stack):
        self.folder, self.stack = folder, stack
        self.postgres = stack.enter_context(servers.Postgres(folder))
        self.blobs = make_blobs(folder)
        self.environment = dict(self.stores(), CHAINHOST_CONFIG=folder / "chainhost.toml")
        self.web = stack.enter_context(rig.Server(folder / "web", words=("serve", "--role", "web"), **self.environment))
        self.web.make_owner()
        self.web.make_keys(1)
        self.workers = [None, None]
        for at in (0, 1):
            self.start_worker(at)

    def stores(self):
        """The variables that name them; the database's and the queue's ports may be those of lines."""
        queue = self.start_queue()
        port = self.start_line()
        url = servers.URL.format(port, "postgres")
        return dict(CHAINHOST_DATABASE_URL=url, CHAINHOST_DATABASE_DIRECT_URL=url, CHAINHOST_REDIS_QUEUE_URL=queue)

    def start_queue(self):
        self.redis = self.stack.enter_context(servers.Redis(self.folder))
        return self.redis.url

    def start_line(self):
        return self.postgres.port

    def start_worker(self, at):
        worker = rig.Server(self.folder / f"worker-{at}", words=("worker", "--queues", "deploy"), port=servers.free_port(), **self.environment)
        self.workers[at] = self.stack.enter_context(worker)

    def make_keys(self, count):
        return self.postgres.make_keys(count)

    def ask(self, sql):
        with self.postgres.session() as session:
            return session.run(sql)


class Direct(Shared):
    """By lines that can be cut."""

    name = "PostgreSQL and Redis"

    def start_queue(self):
        self.queue_line = self.stack.enter_context(servers.Line(self.folder, "queue-line", int(super().start_queue().rsplit(":", 1)[1])))
        return f"redis://127.0.0.1:{self.queue_line.port}"

    def start_line(self):
        self.database_line = self.stack.enter_context(servers.Line(self.folder, "database-line", self.postgres.port))
        return self.database_line.port

    def kill_postgres(self):
        self.postgres.kill()
        time.sleep(1)
        self.postgres.start()

    def kill_backends(self):
        with self.postgres.session() as session:
            for _ in range(10):
                session.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'chainhost'")
                time.sleep(0.2)

    def exhaust(self):
        held, ends = [], time.monotonic() + 5
        while time.monotonic() < ends:
            with contextlib.suppress(OSError):
                held.append(self.postgres.session())
            # Ours that are there are ended, so that it has to ask for new ones and gets none.
            with contextlib.suppress(OSError, IndexError):
                held[0].run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'chainhost'")
        for session in held:
            session.socket.close()

    def kill_worker(self):
        self.workers[0].process.kill()
        self.workers[0].process.wait()
        self.start_worker(0)

    def stop_worker(self):
        self.workers[0].process.send_signal(signal.SIGSTOP)
        time.sleep(45)
        self.workers[0].process.send_signal(signal.SIGCONT)

    def kill_redis(self):
        self.redis.end()
        time.sleep(2)
        self.redis.start()

    silent = f"silent for {SILENT_S} s, then cut"
    faults = [
        ("nothing", nothing),
        ("PostgreSQL killed", kill_postgres),
        ("10 × all backends killed", kill_backends),
        ("all connections taken for 5 s", exhaust),
        (f"line to PostgreSQL {silent}", lambda it: it.database_line.cut(SILENT_S)),
        ("Redis killed for 2 s", kill_redis),
        ("Redis FLUSHALL", lambda it: it.redis.ask("FLUSHALL") and None),
        (f"line to Redis {silent}", lambda it: it.queue_line.cut(SILENT_S)),
        ("worker killed", kill_worker),
        ("worker stopped for 45 s", stop_worker),
    ]


class Pooled(Shared):
    """Through PgBouncer with two sessions."""

    name, clients = "PgBouncer with two sessions", 64

    def stores(self):
        found = super().stores()
        self.pooler = self.stack.enter_context(servers.Pooler(self.folder, self.postgres.port, size=2))
        return found | dict(CHAINHOST_DATABASE_URL=servers.URL.format(self.pooler.port, "postgres"))

    def kill_pooler(self):
        self.pooler.end()
        time.sleep(1)
        self.pooler.start()

    def hold_sessions(self):
        """Somebody has both sessions for longer than anybody waits."""
        held = [servers.Session(self.pooler.port) for _ in range(2)]
        for session in held:
            session.socket.settimeout(60)
            session.run("BEGIN; SELECT 1")
        time.sleep(2 * SILENT_S)
        for session in held:
            session.socket.close()

    faults = [
        ("nothing", nothing),
        ("PgBouncer killed", kill_pooler),
        ("PostgreSQL behind PgBouncer killed", Direct.kill_postgres),
        (f"both sessions held for {2 * SILENT_S} s", hold_sessions),
    ]


class Watched(Shared):
    """Whose queue has a master that Sentinels watch."""

    name = "Redis behind Sentinels"

    def start_queue(self):
        self.redis = servers.Watched(self.folder, self.stack)
        return self.redis.url

    faults = [("nothing", nothing), ("master behind Sentinels killed", lambda it: it.redis.kill_master())]


class Clustered(Shared):
    """Whose queue is in a cluster."""

    name = "Redis Cluster"

    def start_queue(self):
        self.redis = servers.Cluster(self.folder, self.stack)
        return self.redis.url

    faults = [
        ("nothing", nothing),
        ("master of the queue's slot killed", lambda it: it.redis.kill_master()),
        ("slot moved to another node and back", lambda it: it.redis.move_slot()),
    ]


class Embedded:
    """One process with all in its data folder."""

    name, clients, hex = "all in one process", 8, "lower(hex({}))"

    def __init__(self, folder, stack):
        self.folder, self.stack = folder, stack
        self.data, self.port = self.place(), servers.free_port()
        self.blobs = make_blobs(self.data)
        self.environment = dict(CHAINHOST_CONFIG=self.data / "chainhost.toml")
        with rig.Server(self.data / "data", **self.environment) as server:
            server.make_owner()
            server.make_keys(1)
        # While nobody runs: a process more for each key would be a load of its own.
        self.keys = iter(self.insert_keys())
        self.start()

    def place(self):
        return self.folder

    def insert_keys(self):
        keys = [servers.make_key() for _ in range(KEYS_AT_FIRST)]
        with contextlib.closing(sqlite3.connect(self.data / "data/chainhost.db")) as database, database:
            for it in keys:
                new = f"X'{secrets.token_hex(16)}', X'{hashlib.sha256(it.encode()).hexdigest()}'"
                database.execute(f"INSERT INTO api_key SELECT {new}, {servers.KEY_COLUMNS} FROM (SELECT * FROM api_key ORDER BY id LIMIT 1) k")
        return keys

    def start(self):
        self.web = self.stack.enter_context(rig.Server(self.data / "data", port=self.port, **self.environment))
        self.workers = [self.web]

    def make_keys(self, count):
        return [next(self.keys) for _ in range(count)]

    def ask(self, sql):
        with contextlib.closing(sqlite3.connect(f"file:{self.data}/data/chainhost.db?mode=ro", uri=True)) as database:
            return [[str(it) for it in row] for row in database.execute(sql)]

    def kill_all(self):
        self.web.process.kill()
        self.web.process.wait()
        self.start()

    faults = [("nothing", nothing), ("the process killed and started again", kill_all)]
    dark = ("the process killed and started again",)


class Cramped(Embedded):
    """The same on a small disk, in memory."""

    name = "a small disk"

    def place(self):
        place = self.folder / "small"
        place.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SMALL_MB}m", "chainhost-measure", place], check=True)
        # Lazily: the server may still be ending.
        self.stack.callback(lambda: subprocess.run(["umount", "--lazy", place]))
        return place

    def fill(self):
        ballast, ends = self.data / "ballast", None
        with open(ballast, "wb", buffering=0) as file:
            size = 1 << 20
            # Also what others free meanwhile is taken.
            while ends is None or time.monotonic() < ends:
                try:
                    file.write(bytes(size))
                except OSError:
                    if size > 4_096:
                        size //= 16
                    else:
                        ends = ends or time.monotonic() + FULL_S
                        time.sleep(0.01)
        ballast.unlink()

    faults = [("nothing", nothing), (f"the disk full for {FULL_S} s", fill)]


def make_blobs(folder):
    """A folder of bytes, and the settings that name it."""
    blobs = folder / "blobs"
    blobs.mkdir()
    (folder / "chainhost.toml").write_text(f"[blobs]\nfolder = '{blobs}'\n")
    return blobs


def done_by(worker):
    """Jobs that this process has run since its start."""
    line = http.client.HTTPConnection("127.0.0.1", worker.port, timeout=20)
    line.request("GET", "/metrics", headers={"Host": "localhost"})
    text = line.getresponse().read().decode()
    line.close()
    return next(int(it.split()[-1]) for it in text.splitlines() if it.startswith('chainhost_job_run_seconds_count{queue="deploy"}'))


def all_places():
    """Those that can be had here."""
    places = [Direct, Pooled, Watched, Clustered, Embedded]
    if os.geteuid() == 0:
        return [*places, Cramped]
    print("  (no small disk: only root may mount one)")
    return places
