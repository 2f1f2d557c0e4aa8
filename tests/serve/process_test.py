#!/usr/bin/env python3
"""process_test.py LIMN TINY_MODEL LAYER: limn serve as a process: signals, ports, clients that hang up, drivers that die,
several devices."""
import concurrent.futures
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from limn_server import Server, check, pixels, run, tiny

LONG = {"prompt": "ab", "n": 64, "seed": 3, "response_format": "b64_json"}


def counted(s, name):
    return float(re.search(re.escape(name) + r" (\S+)", s.ask("GET", "/metrics").body.decode()).group(1))


def ends_on_signals():
    for number in (signal.SIGTERM, signal.SIGINT):
        with Server(LIMN, "-m", MODEL) as s:
            s.generate(prompt="a")
            with socket.create_connection(("127.0.0.1", s.port)) as idle, \
                    socket.create_connection(("127.0.0.1", s.port)) as half:
                half.sendall(b"GET /heal")
                begin = time.time()
                s.process.send_signal(number)
                check("idle", s.process.wait(timeout=20) == 0 and time.time() - begin < 3, time.time() - begin, s.log())
                try:
                    check("idle", idle.recv(10) == b"")
                except ConnectionResetError:
                    pass # the server had not taken it yet
        for drain in ("0", "5"):
            with Server(LIMN, "-m", MODEL, "--drain", drain) as s, concurrent.futures.ThreadPoolExecutor(30) as pool:
                work = [pool.submit(s.ask, "POST", "/v1/images/generations", LONG) for _ in range(30)]
                while counted(s, 'limn_jobs{state="working"}') == 0 and not any(w.done() for w in work):
                    pass
                begin = time.time()
                s.process.send_signal(number)
                check("at work", s.process.wait(timeout=60) == 0 and time.time() - begin < 10, time.time() - begin, s.log())
                for w in work: # each has an answer, or came too late
                    try:
                        a = w.result()
                    except OSError:
                        continue
                    check("at work", a.status in (200, 503), a.status, a.body[:300])
                    if a.status == 503:
                        a.error


def takes_its_port():
    with Server(LIMN, "-m", MODEL) as s:
        other = subprocess.run([LIMN, "serve", "-m", MODEL, "--port", str(s.port)], capture_output=True, timeout=100)
        check("in use", other.returncode == 1 and str(s.port) in other.stderr.decode(), other)
    with Server(LIMN, "-m", MODEL) as s:
        s.ask("GET", "/health")
        s.process.kill()
        s.process.wait()
        # what a killed one leaves is of no harm: port and kernels
        again = Server(LIMN, "-m", MODEL, "--port", str(s.port)) # the later --port counts
        with again:
            check("again", again.generate(prompt="a").status == 200)
        s.process = again.process # which has ended well


def cancels_what_nobody_waits_for():
    with Server(LIMN, "-m", MODEL) as s:
        body = json.dumps(LONG).encode()
        head = b"POST /v1/images/generations HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", s.port)) as c:
                c.sendall(head + body)
        for _ in range(300):
            ended = sum(counted(s, f'limn_jobs_total{{state="{state}"}}') for state in ("done", "cancelled", "failed"))
            if ended == 20:
                break
            time.sleep(0.1)
        check("hang-up", ended == 20 and counted(s, 'limn_jobs_total{state="cancelled"}') > 10, ended)
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            work = pool.submit(s.ask, "POST", "/v1/images/generations", LONG)
            while not work.done():
                for j in s.ask("GET", "/v1/jobs").json["data"]:
                    if j["status"] in ("waiting", "working"):
                        s.ask("DELETE", "/v1/jobs/" + j["id"])
            check("DELETE", work.result().status in (200, 409), work.result().body[:300])


def comes_back():
    """A device that dies at work: 503, and the same pictures when it lives again."""
    with tempfile.TemporaryDirectory() as folder:
        report = os.path.join(folder, "report")
        with Server(LIMN, "-m", MODEL, environment={"OPENCL_LAYERS": LAYER, "LIMN_LAYER_REPORT": report}) as s:
            want = [pixels(p) for p in s.generate(**LONG).pictures()]
        with open(report) as f:
            calls = int(re.search(r"^calls (\d+)", f.read(), re.M).group(1))
    for status in (-36, -5):
        died = {"OPENCL_LAYERS": LAYER, "LIMN_LAYER_DIE_AT": f"{calls * 2 // 3},{status},4"}
        with Server(LIMN, "-m", MODEL, environment=died) as s:
            seen = []
            while len(seen) < 200 and (200 not in seen or 503 not in seen):
                a = s.generate(**LONG)
                seen.append(a.status)
                if a.status == 503:
                    a.error
                    check("busy", "retry-after" in a.headers, a.headers)
                    time.sleep(0.2)
            check("comes back", 503 in seen and seen[-1] == 200, seen, s.log())
            check("comes back", [pixels(p) for p in a.pictures()] == want, "pictures differ")


def several_devices():
    """Where the implementation can be told to have two (PoCL): they share the work, and the pictures are the same."""
    environment = {"POCL_DEVICES": "pthread pthread"}
    told = subprocess.run([LIMN, "devices", "--json"], env={**os.environ, **environment}, capture_output=True)
    if told.stdout.decode().count('"type": "cpu"') < 2:
        print("        one device alone is here")
        return
    with Server(LIMN, "-m", MODEL, "-d", "cpu", environment=environment) as s, \
            concurrent.futures.ThreadPoolExecutor(16) as pool:
        a = list(pool.map(lambda seed: pixels(s.generate(prompt="ab", seed=seed % 4, temperature=1).pictures()[0]), range(64)))
        check("several", all(a[i] == a[i % 4] for i in range(64)), "pictures differ")


if __name__ == "__main__":
    place = tempfile.TemporaryDirectory()
    LIMN, MODEL, LAYER = os.path.abspath(sys.argv[1]), tiny(sys.argv[2], place.name), os.path.abspath(sys.argv[3])
    sys.exit(run([ends_on_signals, takes_its_port, cancels_what_nobody_waits_for, comes_back, several_devices]))
