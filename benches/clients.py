"""What asks the servers of `compare` where wrk cannot: connections that are new each time, many that are idle, HTTP/2 and HTTP/3.

wrk takes up its TLS sessions again when a connection is closed, so that it hardly ever does a full handshake, and does
not count the handshake in its times. Standard library only.
"""

import contextlib
import json
import os
import select
import statistics
import subprocess
import sys
import tempfile
import time

import peers
import rig

# As many connections at once as keep both sides at work.
CALLERS = 8
# Streams of each connection of HTTP/2 and HTTP/3, and the connections.
STREAMS, CONNECTIONS = 100, 16
# Of files so large one connection has all that fits into the time.
LARGE = 100 << 20


def found(times_ms, seconds, failures=0):
    """In the words of `rig.wrk`."""
    if len(times_ms) < 2:
        raise SystemExit("fewer than two requests were answered: measure for longer")
    cuts = statistics.quantiles(times_ms, n=100)
    return {"requests": len(times_ms), "seconds": seconds, "failures": failures, "p50": cuts[49], "p95": cuts[94], "p99": cuts[98]}


def call_anew(port, host, path, seconds, has_tls, is_resumed):
    """One caller: connects, asks and is closed, again and again. The time of each in ms, from the connect to the last byte; how many
    failed; and how many took up a session."""
    target, context = peers.Target("", None, port, has_tls, host), peers.trusting() if has_tls else None
    request = f"GET /{path} HTTP/1.1\r\nHost: {target.authority}\r\nConnection: close\r\n\r\n".encode()
    times, failures, resumed, session, ends = [], 0, 0, None, time.monotonic() + seconds
    while time.monotonic() < ends:
        begun = time.monotonic()
        try:
            with target.connect(context, session) as line:
                line.sendall(request)
                answer = b"".join(iter(lambda: line.recv(65_536), b""))
                resumed += has_tls and line.session_reused
                session = line.session if is_resumed else None
            failures += not answer.startswith(b"HTTP/1.1 200 ")
        except OSError:
            failures += 1
        times.append((time.monotonic() - begun) * 1e3)
    return times, failures, resumed


def anew(target, path, seconds, is_resumed=False):
    """Connections that each begin with a handshake: a full one, or one that takes up the session before; in clear without. Each caller is
    a process."""
    words = json.dumps([target.port, target.host, path, seconds, target.has_tls, is_resumed])
    callers = [subprocess.Popen([sys.executable, __file__, words], stdout=subprocess.PIPE) for _ in range(CALLERS)]
    times, failures, resumed = zip(*(json.loads(it.communicate()[0]) for it in callers))
    times = [it for each in times for it in each]
    # The first of each caller has no session to take up.
    if not sum(failures) and sum(resumed) != (len(times) - CALLERS if is_resumed else 0):
        raise SystemExit(f"{target.name}: {sum(resumed)} of {len(times)} handshakes took up a session")
    return found(times, seconds, sum(failures))


def h2load(target, path, requests, connections, host=None):
    with tempfile.NamedTemporaryFile("r") as log:
        begun = time.monotonic()
        subprocess.run(
            ["h2load", "-t", "1", "-c", str(connections), "-m", str(STREAMS), "-n", str(requests), "--log-file", log.name,
             "--connect-to", f"127.0.0.1:{target.port}", f"{'https' if target.has_tls else 'http'}://{host or target.host}:{target.port}/{path}"],
            check=True, stdout=subprocess.DEVNULL)
        seconds = time.monotonic() - begun
        answers = [line.split("\t") for line in log]
    failures = requests - sum(status == "200" for _, status, _ in answers)
    return found([int(it) / 1e3 for _, _, it in answers], seconds, failures)


def http2(target, path, seconds, size):
    """About so many seconds: a number of requests by the rate of the time before, all of which are answered, so that the server does
    nothing that is not counted."""
    connections, least = (1, STREAMS) if size >= LARGE else (CONNECTIONS, 2 * STREAMS * CONNECTIONS)
    answer = h2load(target, path, max(least, int(target.rates.get(path, 0) * seconds)), connections)
    target.rates[path] = answer["requests"] / answer["seconds"]
    return answer


def http3_program():
    """`benches/http3.rs`, built with the crates that the tests of HTTP/3 have."""
    if made := os.environ.get("HTTP3_BENCH"):
        return made
    done = subprocess.run(["cargo", "bench", "--locked", "--features", "full", "--bench", "http3", "--no-run", "--message-format", "json"],
                          cwd=rig.ROOT, stdout=subprocess.PIPE, text=True, check=True)
    made = [json.loads(line) for line in done.stdout.splitlines()]
    return next(it["executable"] for it in made if it.get("executable") and it["target"]["name"] == "http3")


def http3(target, path, seconds, size, program, chain):
    words = [chain, target.port, target.host, path, size, seconds, CONNECTIONS, STREAMS]
    done = subprocess.run([program, *map(str, words)], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


@contextlib.contextmanager
def idle(target, path, count):
    """So many connections that have asked once and stay open; raises when the server has closed one by the end."""
    lines, context = [], peers.trusting() if target.has_tls else None
    request = f"GET /{path} HTTP/1.1\r\nHost: {target.authority}\r\n\r\n".encode()
    try:
        for _ in range(count):
            lines.append(target.connect(context))
            lines[-1].sendall(request)
            read_answer(lines[-1])
        yield
        poll = select.poll()
        for it in lines:
            poll.register(it, select.POLLIN)
        if closed := len(poll.poll(0)):
            raise SystemExit(f"{target.name} closed {closed} of {count} idle connections while they were counted")
    finally:
        for it in lines:
            it.close()


def read_answer(line):
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += more(line)
    head, body = answer.split(b"\r\n\r\n", 1)
    [length] = [int(it.split(b":")[1]) for it in head.split(b"\r\n") if it.lower().startswith(b"content-length:")]
    left = length - len(body)
    while left > 0:
        left -= len(more(line))


def more(line):
    if piece := line.recv(65_536):
        return piece
    raise SystemExit("a server closed a connection before it had answered")


if __name__ == "__main__":
    print(json.dumps(call_anew(*json.loads(sys.argv[1]))))
