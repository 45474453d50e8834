"""A server of the measures: started on a folder of its own, asked, looked at in /proc, and ended.

Standard library only. Nothing here touches a process that it did not start, and all load stays on loopback.
"""

import http.client
import io
import json
import os
import pathlib
import resource
import shutil
import signal
import statistics
import subprocess
import tempfile
import threading
import time
import urllib.parse
import zipfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
BINARY = pathlib.Path(os.environ.get("CHAINHOST_BINARY", ROOT / "target/release/chainhost"))
EMAIL = "owner@example.org"
PASSWORD = "a long word of a password"
# A key may be used 1,000 times in 15 minutes.
CALLS_PER_KEY = 900


def quiet_environment(**more):
    """The environment without settings of our own, which would change what is measured."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CHAINHOST_")}
    return kept | {name: str(value) for name, value in more.items()}


def workspace():
    """A folder for everything of a run, on a disk rather than in memory."""
    # Nothing need be built here when CHAINHOST_BINARY names a binary.
    (ROOT / "target").mkdir(exist_ok=True)
    return tempfile.TemporaryDirectory(prefix="measure-", dir=os.environ.get("MEASURE_DIR", ROOT / "target"))


class Server:
    """`chainhost serve` on `data`, or another command of a server, until the end of the `with` block."""

    def __init__(self, data, binary=BINARY, words=("serve",), port=0, **environment):
        self.data, self.binary = pathlib.Path(data), binary
        begun = time.monotonic()
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            [binary, *words, "--data", data, "--listen", f"127.0.0.1:{port}"],
            stdout=subprocess.PIPE, stderr=self.log, env=quiet_environment(**environment), text=True)
        line = self.process.stdout.readline()
        self.started_s = time.monotonic() - begun
        if not line.startswith("ready "):
            self.log.seek(0)
            raise SystemExit(f"the server did not start: {self.log.read().decode()}")
        # A worker does not say where its figures are.
        self.port = port or int(line.rsplit(":", 1)[1])
        self.url = f"http://localhost:{self.port}"
        self.keys = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(90)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def make_owner(self):
        subprocess.run(
            [self.binary, "admin", "create-user", "--email", EMAIL, "--role", "super-admin", "--password-stdin",
             "--data", self.data],
            input=PASSWORD + "\n", text=True, check=True, env=quiet_environment(),
            stdout=subprocess.DEVNULL)

    def make_keys(self, count):
        for _ in range(count):
            made = subprocess.run([self.binary, "admin", "create-key", "--email", EMAIL, "--data", self.data],
                                  text=True, check=True, env=quiet_environment(), capture_output=True)
            self.keys.append(made.stdout.strip())
        return self.keys[-count:]

    def sign_in(self):
        """The cookie of a session of the owner."""
        host = f"localhost:{self.port}"
        form = urllib.parse.urlencode({"email": EMAIL, "password": PASSWORD})
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("POST", "/sign-in", form, {
            "Host": host, "Origin": f"http://{host}", "Content-Type": "application/x-www-form-urlencoded"})
        answer = connection.getresponse()
        cookies = [value.split(";")[0] for name, value in answer.getheaders() if name.lower() == "set-cookie"]
        if answer.status != 303 or not cookies:
            raise SystemExit(f"signing in was answered {answer.status}")
        return cookies[0]

    def client(self):
        return Client(self)

    def deploy(self, folder, site):
        """`chainhost deploy`: its report, with its wall time, and processor time with the server's, in seconds."""
        if not self.keys:
            self.make_keys(1)
        begun, own, theirs = time.monotonic(), children_s(), cpu_s(self.process.pid)
        done = subprocess.run([self.binary, "deploy", folder, "--site", site, "--create", "--json"],
                              env=quiet_environment(CHAINHOST_KEY=self.keys[-1], CHAINHOST_SERVER=self.url),
                              capture_output=True, text=True)
        took = time.monotonic() - begun
        if done.returncode != 0:
            raise SystemExit(f"the deploy failed: {done.stderr}")
        used = children_s() - own, cpu_s(self.process.pid) - theirs
        return json.loads(done.stdout) | {"wall_s": took, "cpu_s": sum(used)}

    def wait_quiet(self, seconds):
        """Waits until no job runs or waits, and the process has used no more than a tick in a second."""
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            jobs = [line for line in self.client().text("/metrics").splitlines()
                    if line.startswith("chainhost_jobs{") and ("running" in line or "waiting" in line)]
            before = cpu_s(self.process.pid)
            time.sleep(1)
            if all(line.endswith(" 0") for line in jobs) and cpu_s(self.process.pid) - before <= 0.01:
                return
        print(f"  (the server was not quiet after {seconds} s)")


class Client:
    """The API, by one connection; a new key is made when one is used up."""

    def __init__(self, server):
        self.server, self.calls, self.key = server, CALLS_PER_KEY, None
        self.connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)

    def send(self, method, path, body=None, content="application/json"):
        if self.calls >= CALLS_PER_KEY and path.startswith("/api/"):
            self.key, self.calls = self.server.make_keys(1)[0], 0
        self.calls += 1
        headers = {"Host": f"localhost:{self.server.port}", "Content-Type": content}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        self.connection.request(method, path, body, headers)
        answer = self.connection.getresponse()
        text = answer.read()
        if answer.status >= 300:
            raise SystemExit(f"{method} {path}: {answer.status} {text.decode()}")
        return text

    def call(self, method, path, body=None):
        text = self.send(method, path, None if body is None else json.dumps(body))
        return json.loads(text) if text else None

    def text(self, path):
        return self.send("GET", path).decode()


PAGES = {
    "index.html": "<!doctype html><title>A site</title><p>" + "Words of a page. " * 60,
    "style.css": "p { margin: 0 }\n" * 60,
    "about/index.html": "<!doctype html><title>About</title><p>" + "More words. " * 60,
}


def zipped(pages):
    """An archive of files by their names."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in pages.items():
            archive.writestr(name, text)
    return out.getvalue()


def seed_sites(server, count, workers=4, pages_of=lambda _: PAGES):
    """Makes `count` sites, `site-0000` and on, each with some pages, or those that are its number's, all live."""
    numbers, lock = iter(range(count)), threading.Lock()

    def work():
        client = server.client()
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            client.call("POST", "/api/v1/sites", {"name": f"site-{number:04}"})
            client.send("PUT", f"/api/v1/sites/site-{number:04}/deployments", zipped(pages_of(number)), "application/zip")

    threads = [threading.Thread(target=work) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    client = server.client()
    ends = time.monotonic() + 300
    # Each site has its own host and that of its preview.
    while f"chainhost_hosts {2 * count}\n" not in client.text("/metrics"):
        if time.monotonic() > ends:
            raise SystemExit("the sites did not all go live")
        time.sleep(0.2)


def family(pid):
    """`pid` and the processes that it started."""
    parents = {}
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rsplit(")", 1)[1].split()[1])
        except FileNotFoundError:
            # It has ended since the folder was read.
            continue
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found


def cpu_s(pid):
    """Seconds of processor time, user and system, of a process and its children."""
    ticks = 0
    for one in family(pid):
        words = pathlib.Path(f"/proc/{one}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(words[11]) + int(words[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def children_s():
    """Seconds of processor time of the processes that were started here and have ended."""
    times = os.times()
    return times.children_user + times.children_system


def memory_mb(pid):
    """RSS, Pss and the anonymous part of RSS, in millions of bytes."""
    lines = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    kib = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    return tuple(kib[name] * 1024 / 1e6 for name in ("Rss", "Pss", "Anonymous"))


def wakes(pid):
    """How often threads of a process have slept and woken, by thread."""
    found = {}
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        lines = (task / "status").read_text().splitlines()
        words = dict(line.split(":", 1) for line in lines if ":" in line)
        found[task.name, words["Name"].strip()] = int(words["voluntary_ctxt_switches"])
    return found


def wrk(url, seconds, connections, threads=1, script=None, host=None, timeout_s=2):
    """Runs wrk and gives what it printed as numbers: requests, seconds, failures, p50, p95, p99 in ms, and the bytes that came. What takes
    longer than `timeout_s` has failed."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as lua:
        lua.write((script or "") + WRK_DONE)
        lua.flush()
        command = ["wrk", "-t", str(threads), "-c", str(connections), "-d", f"{seconds}s", "--timeout", f"{timeout_s}s", "-s", lua.name]
        if host:
            command += ["-H", f"Host: {host}"]
        done = subprocess.run(command + [url], capture_output=True, text=True, check=True)
    line = next(line for line in done.stdout.splitlines() if line.startswith("RESULT "))
    return json.loads(line.removeprefix("RESULT "))


PANEL_SCRIPT = """
local pages, next_page = {"/", "/sites", "/jobs"}, 0
math.randomseed(os.time())
function request()
  next_page = next_page %% #pages + 1
  return wrk.format("GET", pages[next_page], {["Cookie"] = "%s"})
end
function delay() return math.random(0, %d) end
"""


def measure_panel(server, what, runs, seconds=10, connections=16, rate=200, beside=()):
    """Rows for three pages of the panel, asked in turn by somebody who is signed in, about `rate` times a second; and the processor time
    of a page, of the server and of the programs `beside` it: a name and a process each."""
    parts = [("the server", server.process.pid), *beside]
    used = {name: [] for name, _ in parts}
    # Each connection pauses twice the mean at most.
    script, p50, p95, rates = PANEL_SCRIPT % (server.sign_in(), 2 * connections * 1000 // rate), [], [], []
    for _ in range(runs):
        before = {name: cpu_s(pid) for name, pid in parts}
        found = wrk(f"http://127.0.0.1:{server.port}/", seconds, connections, script=script, host=f"localhost:{server.port}")
        if found["failures"]:
            raise SystemExit(f"{found['failures']} pages failed")
        for name, pid in parts:
            used[name].append((cpu_s(pid) - before[name]) * 1e3 / found["requests"])
        p50.append(found["p50"])
        p95.append(found["p95"])
        rates.append(found["requests"] / found["seconds"])
    row(f"{what}, overview, sites and jobs in turn: p50", p50, "ms")
    row(f"{what}, overview, sites and jobs in turn: p95", p95, "ms", "≤ 10 ms")
    row("at a rate of", rates, "/s", f"{rate} /s", 0)
    for name, times in used.items():
        row(f"processor time of a page, {name}", times, "ms", digits=2)


WRK_DONE = """
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    'RESULT {"requests":%d,"seconds":%f,"failures":%d,"p50":%f,"p95":%f,"p99":%f,"max":%f,"bytes":%d}\\n', summary.requests,
    summary.duration / 1e6, e.connect + e.read + e.write + e.status + e.timeout, latency:percentile(50) / 1e3,
    latency:percentile(95) / 1e3, latency:percentile(99) / 1e3, latency.max / 1e3, summary.bytes))
end
"""


def row(what, values, unit, goal="", digits=1):
    """Prints a line of the table: the median, from the least to the most."""
    low, middle, high = (f"{it:,.{digits}f}" for it in (min(values), statistics.median(values), max(values)))
    print(f"| {what} | {middle} {unit} | {low}–{high} | {len(values)} | {goal} |", flush=True)


def header():
    print("| What | Median | Least–most | Runs | Goal |\n|---|---|---|---|---|", flush=True)


PACKAGES = {"wrk": "wrk", "nginx": "nginx-light", "h2load": "nghttp2-client", "strip": "binutils"}


def need(*tools):
    missing = [tool for tool in tools if not shutil.which(tool)]
    if missing:
        raise SystemExit(f"missing: {', '.join(missing)} (apt install {' '.join(PACKAGES.get(it, it) for it in missing)})")
    if not BINARY.exists():
        raise SystemExit(f"missing: {BINARY} (cargo build --release)")


def allow_open_files(wanted=0):
    """Lets this process, and the servers that it starts from then on, have as many files open as the system allows: that number."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if wanted > most:
        raise SystemExit(f"{wanted:,} open files are needed and {most:,} are allowed: `ulimit -Hn {wanted}` as root, or fewer connections")
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


def machine():
    """One line on where this was measured."""
    model = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    load = " ".join(f"{it:.1f}" for it in os.getloadavg())
    return f"{time.strftime('%Y-%m-%d %H:%M')} · {os.cpu_count()} × {model} · load before {load}"
