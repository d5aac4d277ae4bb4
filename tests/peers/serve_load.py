"""Loads a server on this machine, and prints tables: speed, memory, overload, hostile clients, and a stop during load.

    python3 serve_load.py MASKFIT BUNDLE IMAGE [--seconds 60] [--requests 10000]
        [--rival "python3 RIVAL.py MODEL.onnx --port PORT"] [--only speed,memory,queue,hostile,stop]

MASKFIT is the program (`target/release/maskfit`), BUNDLE what it serves, IMAGE a file that is sent as the body of every
request. Each part starts servers of its own on free ports of the loopback address, and stops them. `speed` sends
requests with wrk (Debian's package), at 1, 8 and 64 connections. Its rival is any program that takes `POST /predict`
with the bytes of an image and `GET /v2/health/ready`; `PORT` in its command is replaced. The load runs on the same
machine, and takes a part of its cores; for each server the same.

`stop` counts as lost each request that was sent over an accepted connection and got no whole response. Exits with 1 if
one was lost, an image was not predicted, a server failed (5xx other than 503, or no response), or memory grew.
"""

import argparse
import http.client
import json
import mimetypes
import shlex
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections import Counter
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("maskfit")
parser.add_argument("bundle")
parser.add_argument("image", type=Path)
parser.add_argument("--seconds", type=int, default=60)
parser.add_argument("--requests", type=int, default=10_000)
parser.add_argument("--rival")
parser.add_argument("--only", default="speed,memory,queue,hostile,stop")
args = parser.parse_args()
BODY = args.image.read_bytes()
KIND = mimetypes.guess_type(args.image)[0] or "application/octet-stream"
# What the memory may grow between a tenth of the requests and all: allocators keep some.
MOST_GROWTH_MIB = 32
problems = []


def check(is_fine, what):
    if not is_fine:
        problems.append(what)
        print(f"  PROBLEM: {what}", flush=True)


class Server:
    """A running server: of the program with some options, or another command."""

    def __init__(self, *options, command=None):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        if command:
            words = [str(self.port) if it == "PORT" else it for it in shlex.split(command)]
        else:
            words = [args.maskfit, "serve", args.bundle, "--listen", f"127.0.0.1:{self.port}", *options]
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(words, stdout=self.log, stderr=self.log)
        began = time.monotonic()
        while not self.is_ready():
            if self.process.poll() is not None or time.monotonic() - began > 120:
                self.log.seek(0)
                sys.exit(f"the server does not start: {shlex.join(words)}\n{self.log.read().decode(errors='replace')}")
            time.sleep(0.05)

    def is_ready(self):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
            connection.request("GET", "/v2/health/ready")
            return connection.getresponse().status == 200
        except OSError:
            return False

    def memory(self, key="VmRSS"):
        """In MiB; `VmHWM` is the peak."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(it.split()[1]) / 1024 for it in text.splitlines() if it.startswith(key))

    def predict(self, connection=None):
        connection = connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("POST", "/predict", BODY, {"Content-Type": KIND})
        response = connection.getresponse()
        return response.status, response.read(), dict(response.getheaders())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        """Stops it, and checks that it ends by itself and had no panic."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            check(False, "the server did not stop within 60 s")
            self.process.kill()
        self.log.seek(0)
        check(b"panicked" not in self.log.read(), "the server panicked")


# Sends the image, and prints what was counted as one line of JSON; latencies are in microseconds.
WRK = """
local file = io.open(%s, "rb")
wrk.body = file:read("*all")
file:close()
wrk.method = "POST"
wrk.headers["Content-Type"] = "%s"
function done(summary, latency)
    local n = summary.errors
    io.write(string.format('\\n{"rate": %%f, "p50": %%f, "p99": %%f, "n": %%d, "failed": %%d}\\n',
        summary.requests / summary.duration * 1e6, latency:percentile(50), latency:percentile(99),
        summary.requests, n.connect + n.read + n.write + n.status + n.timeout))
end
"""


def wrk(server, seconds, n_connections):
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(WRK % (json.dumps(str(args.image.resolve())), KIND))
        script.flush()
        url = f"http://127.0.0.1:{server.port}/predict"
        words = ["wrk", "-t1", f"-c{n_connections}", f"-d{seconds}s", "--timeout", "60s", "-s", script.name, url]
        done = subprocess.run(words, capture_output=True, check=True, text=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def speed():
    print(f"\nspeed: {args.seconds} s each\n")
    print(f"{'server':<10} {'connections':>11} {'requests/s':>10} {'p50 ms':>8} {'p99 ms':>8} {'requests':>8} {'failed':>6}")
    servers = [("maskfit", None)] + ([("rival", args.rival)] if args.rival else [])
    for name, command in servers:
        with Server(command=command) as server:
            wrk(server, 3, 8)
            for n in [1, 8, 64]:
                got = wrk(server, args.seconds, n)
                p50, p99 = got["p50"] / 1000, got["p99"] / 1000
                counts = f"{got['n']:>8} {got['failed']:>6}"
                print(f"{name:<10} {n:>11} {got['rate']:>10.1f} {p50:>8.1f} {p99:>8.1f} {counts}", flush=True)
                check(not got["failed"], f"{name} at {n} connections: {got['failed']} requests failed")


def memory():
    print("\nmemory in MiB\n")
    print(f"{'after':<20} {'now':>8} {'peak':>8}")
    with Server() as server:
        show = lambda what: print(f"{what:<20} {server.memory():>8.1f} {server.memory('VmHWM'):>8.1f}", flush=True)

        def send(n):
            def some(_):
                connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
                return Counter(server.predict(connection)[0] for _ in range(n // 8))

            replies = together(8, some)
            check(all(it == {200: n // 8} for it in replies), f"other replies than 200: {replies}")

        show("the start")
        first = args.requests // 10
        send(first)
        show(f"{first} requests")
        before = server.memory()
        send(args.requests - first)
        show(f"{args.requests} requests")
        growth = server.memory() - before
        check(growth < MOST_GROWTH_MIB, f"memory grew by {growth:.1f} MiB")


def together(n, work):
    """Runs `work(i)` on n threads at once, and returns what each returns."""
    results, gate = [None] * n, threading.Barrier(n)

    def run(i):
        gate.wait()
        try:
            results[i] = work(i)
        except OSError as error:
            results[i] = type(error).__name__
        except http.client.HTTPException as error:
            results[i] = type(error).__name__

    threads = [threading.Thread(target=run, args=(i,)) for i in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def shown(counts):
    return ", ".join(f"{what}: {n}" for what, n in sorted(counts.items(), key=str))


def queue():
    with Server("--queue", "8", "--max-images", "8", "--batch-size", "4") as server:
        replies = together(200, lambda _: server.predict())
        print("\nqueue of 8 images, 200 clients at once\n")
        counts = Counter(it if isinstance(it, str) else it[0] for it in replies)
        print(f"  {shown(counts)}", flush=True)
        check(set(counts) <= {200, 429} and counts[200] >= 8, "another reply than 200 and 429")
        refused = [it for it in replies if it[0] == 429]
        check(refused, "the queue was never full")
        check(all("retry-after" in {k.lower() for k in it[2]} for it in refused), "429 without Retry-After")
        check(server.predict()[0] == 200, "the server does not predict any more")


def bomb():
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def head(length, kind=KIND):
    lines = f"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n"
    return lines.encode() + b"Connection: close\r\n\r\n"


def status_of(response):
    """0 where there is none."""
    return int(response[9:12]) if response.startswith(b"HTTP/1.1 ") else 0


def exchange(server, *pieces, closes=False):
    """Sends bytes, reads meanwhile, and returns the status; 0 where there was no response."""
    with socket.create_connection(("127.0.0.1", server.port), 60) as connection:
        received = []

        def read():
            try:
                while part := connection.recv(65_536):
                    received.append(part)
            except OSError:
                pass

        reader = threading.Thread(target=read)
        reader.start()
        try:
            for piece in pieces:
                connection.sendall(piece)
            if closes:
                connection.shutdown(socket.SHUT_WR)
        except OSError:
            # It has closed, after a response.
            pass
        reader.join()
    return status_of(b"".join(received))


def trickle(server, seconds):
    """Sends a byte a second of a body; returns the status, and after how many seconds the connection was closed."""
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", server.port), 60) as connection:
        connection.settimeout(1)
        connection.sendall(head(100_000))
        while time.monotonic() - began < seconds:
            try:
                connection.sendall(b"x")
                if part := connection.recv(4096):
                    return status_of(part), time.monotonic() - began
                return 0, time.monotonic() - began
            except TimeoutError:
                continue
            except OSError:
                return 0, time.monotonic() - began
    return "open", seconds


def hostile():
    print("\nhostile clients\n")
    print(f"{'what':<44} {'statuses':<28} {'seconds':>7} {'peak MiB':>9}")

    def row(what, server, begin, counts, allowed):
        took = time.monotonic() - begin
        print(f"{what:<44} {shown(counts):<28} {took:>7.1f} {server.memory('VmHWM'):>9.1f}", flush=True)
        check(set(counts) <= allowed, f"{what}: {shown(counts)}")
        check(server.predict()[0] == 200, f"{what}: the server does not predict any more")

    with Server("--timeout", "5") as server:
        for _ in range(20):
            server.predict()
        begin = time.monotonic()
        row("nothing yet", server, begin, Counter(), set())
        begin, data = time.monotonic(), bomb()
        counts = Counter()
        for _ in range(20):
            counts.update(together(50, lambda _: exchange(server, head(len(data)), data)))
        row("1,000 PNGs of 60000x60000, 50 at once", server, begin, counts, {400, 429})
        begin, piece = time.monotonic(), bytes(1_000_000)
        counts = Counter(together(64, lambda _: exchange(server, head(50_000_000), *[piece] * 50)))
        row("64 bodies of 50 MB at once", server, begin, counts, {413})
        begin = time.monotonic()
        counts = Counter(together(64, lambda _: exchange(server, head(30_000_000), *[piece] * 30)))
        row("64 bodies of 30 MB, no images, at once", server, begin, counts, {400, 408, 429, 503})
        begin = time.monotonic()
        slow = threading.Thread(target=lambda: slowly.extend(together(100, lambda _: trickle(server, 30))))
        slowly, times = [], []
        slow.start()
        while slow.is_alive():
            sent = time.monotonic()
            check(server.predict()[0] == 200, "no prediction beside slow clients")
            times.append(time.monotonic() - sent)
        row("100 clients of a byte a second", server, begin, Counter(it[0] for it in slowly), {408})
        others = f"{1000 * sorted(times)[len(times) // 2]:.0f} ms"
        print(f"  closed after {max(it[1] for it in slowly):.1f} s; a prediction took {others} meanwhile (p50)")
        begin = time.monotonic()
        counts = Counter()
        for _ in range(20):
            counts.update(together(50, lambda _: exchange(server, head(len(BODY)), BODY, closes=True)))
        row("1,000 whole requests, then half-closed", server, begin, counts, {200})
        begin = time.monotonic()
        counts = Counter()
        for _ in range(20):
            counts.update(together(50, lambda i: exchange(server, (head(len(BODY)) + BODY)[: 20 * i], closes=True)))
        row("1,000 parts of requests, then half-closed", server, begin, counts, {0, 400, 499})


def stop():
    print("\nSIGTERM while 32 clients send requests, half of them on one connection each, 5 times\n")
    total = Counter()
    for _ in range(5):
        with Server() as server:
            began = threading.Event()

            def client(i):
                counts, connection = Counter(), None
                while True:
                    if connection is None or i % 2 == 0:
                        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
                        try:
                            connection.connect()
                        except OSError:
                            return counts + Counter(["not accepted"])
                    try:
                        status, body, headers = server.predict(connection)
                        counts[status if json.loads(body) else "no JSON"] += 1
                    except (OSError, http.client.HTTPException, ValueError):
                        counts["lost"] += 1
                        connection = None
                        continue
                    began.set()
                    if headers.get("connection", "").lower() == "close":
                        connection = None

            def term():
                began.wait(60)
                time.sleep(1)
                server.process.send_signal(signal.SIGTERM)

            thread = threading.Thread(target=term)
            thread.start()
            for counts in together(32, client):
                total += counts if isinstance(counts, Counter) else Counter([counts])
            thread.join()
            sent = time.monotonic()
            check(server.process.wait(60) == 0, f"the server ended with {server.process.returncode}")
            check(time.monotonic() - sent < 10, "the server took more than 10 s to end")
    print(f"  {shown(total)}", flush=True)
    check(total["lost"] == 0, f"{total['lost']} requests were lost")
    check(set(total) <= {200, 429, "not accepted"}, "another reply than 200")


parts = {"speed": speed, "memory": memory, "queue": queue, "hostile": hostile, "stop": stop}
for name in args.only.split(","):
    parts[name]()
print(f"\n{len(problems)} problems")
sys.exit(1 if problems else 0)
