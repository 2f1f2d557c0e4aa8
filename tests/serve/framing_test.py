#!/usr/bin/env python3
"""framing_test.py LIMN TINY_MODEL: what limn serve takes for a request, and what it answers to what is none: always OpenAI's
error, in JSON, and never two answers to what another program could read as one request."""
import os
import socket
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from limn_server import Server, check, run, split_answers, tiny

POST = b"POST /v1/images/generations HTTP/1.1\r\nHost: localhost\r\n"
NEXT = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n"


def refused(s, name, data, status, end=False):
    """One answer, an error of that status, and the connection closes."""
    answers = split_answers(s.send(data, end))
    check(name, len(answers) == 1, [a.status for a in answers], answers and answers[-1].body)
    check(name, answers[0].status == status, answers[0].status, answers[0].body)
    answers[0].error
    check(name, answers[0].headers.get("connection") == "close", answers[0].headers)


def two_readings(s):
    """Where one request ends must not be a matter of opinion."""
    body = b"{}" + NEXT
    for name, headers, status in [
            ("two lengths", b"Content-Length: 2\r\nContent-Length: 52\r\n", 400),
            ("two equal lengths", b"Content-Length: 2\r\nContent-Length: 2\r\n", 400),
            ("a list of lengths", b"Content-Length: 2, 2\r\n", 400),
            ("a list of other lengths", b"Content-Length: 2,52\r\n", 400),
            ("+2", b"Content-Length: +2\r\n", 400),
            ("-2", b"Content-Length: -2\r\n", 400),
            ("0x2", b"Content-Length: 0x2\r\n", 400),
            ("2 2", b"Content-Length: 2 2\r\n", 400),
            ("empty length", b"Content-Length:\r\n", 400),
            ("large length", b"Content-Length: 99999999999999999999999999\r\n", 400),
            ("length and chunks", b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n", 400),
            ("chunks and length", b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n", 400),
            ("chunks twice", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 400),
            ("other codings", b"Transfer-Encoding: gzip, chunked\r\n", 501),
            ("identity", b"Transfer-Encoding: identity\r\n", 501),
            ("xchunked", b"Transfer-Encoding: xchunked\r\n", 501),
            ("tab before chunked", b"Transfer-Encoding:\x0bchunked\r\n", 400),
            ("blank before the colon", b"Content-Length : 2\r\n", 400),
            ("folded length", b"Content-Length: 2\r\n 2\r\n", 400),
            ("folded header", b"X-A: b\r\n c\r\nContent-Length: 2\r\n", 400),
            ("lone LF", b"X-A: b\nContent-Length: 2\r\n", 400),
            ("lone CR", b"X-A: b\rContent-Length: 2\r\n", 400),
            ("NUL", b"X-A: b\0c\r\nContent-Length: 2\r\n", 400),
            ("no colon", b"Content-Length 2\r\n", 400),
            ("no name", b": 2\r\n", 400),
            ("two hosts", b"Host: evil.example\r\nContent-Length: 2\r\n", 400),
            ("other expectations", b"Expect: 200-ok\r\nContent-Length: 2\r\n", 417)]:
        refused(s, name, POST + headers + b"\r\n" + body, status)


def chunks(s):
    good = POST + b"Transfer-Encoding: chunked\r\n\r\n"
    for name, body, status in [
            ("no size", b"\r\n{}\r\n0\r\n\r\n", 400),
            ("g", b"g\r\n{}\r\n0\r\n\r\n", 400),
            ("0x2", b"0x2\r\n{}\r\n0\r\n\r\n", 400),
            ("+2", b"+2\r\n{}\r\n0\r\n\r\n", 400),
            ("-1", b"-1\r\n{}\r\n0\r\n\r\n", 400),
            ("2 and a blank", b"2 \r\n{}\r\n0\r\n\r\n", 400),
            ("64 bits and more", b"fffffffffffffffff\r\n{}\r\n", 400),
            ("too long a chunk", b"1\r\n{}\r\n0\r\n\r\n", 400),
            ("lone LF", b"2\n{}\r\n0\r\n\r\n", 400),
            ("NUL in an extension", b"2;a\0\r\n{}\r\n0\r\n\r\n", 400),
            ("extension without end", b"2;" + b"a" * 20000, 400),
            ("trailer without end", b"0\r\nA: " + b"a" * 20000, 400)]:
        refused(s, name, good + body + NEXT, status)
    # what is plain: the body is {}, which lacks its prompt, and the next request has its own answer
    for name, body in [("one", b"2\r\n{}\r\n0\r\n\r\n"), ("two", b"1\r\n{\r\n01\r\n}\r\n0\r\n\r\n"),
                       ("extension", b"2;name=value\r\n{}\r\n0;x\r\n\r\n"), ("trailer", b"2\r\n{}\r\n0\r\nA: b\r\n\r\n")]:
        answers = split_answers(s.send(good + body + NEXT.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")))
        check(name, [a.status for a in answers] == [400, 200], [a.status for a in answers])
        check(name, answers[0].error["param"] == "prompt", answers[0].body)
    # more than a body may be, without end
    with socket.create_connection(("127.0.0.1", s.port), timeout=20) as c:
        c.sendall(good)
        sent, got = 0, b""
        try:
            while sent < 100 << 20:
                c.sendall(b"100000\r\n" + b"x" * 0x100000 + b"\r\n")
                sent += 0x100000
        except OSError:
            pass
        try:
            got = c.recv(65536)
        except OSError:
            pass
        check("endless chunks", got.startswith(b"HTTP/1.1 413 "), sent, got[:200])


def no_requests(s):
    host = b" HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for name, data, status in [
            ("noise", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
            ("words", b"hello there\r\n\r\n", 400),
            ("HTTP/0.9", b"GET /health\r\n\r\n", 400),
            ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
            ("HTTP/3.0", b"GET /health HTTP/3.0\r\nHost: localhost\r\n\r\n", 505),
            ("http/1.1", b"GET /health http/1.1\r\nHost: localhost\r\n\r\n", 400),
            ("two blanks", b"GET  /health" + host, 400),
            ("no path", b"GET " + host, 400),
            ("no slash", b"GET health" + host, 400),
            ("blank in the path", b"GET /he alth" + host, 400),
            ("%00", b"GET /%00" + host, 400),
            ("no method", b" /health" + host, 400),
            ("strange method", b"G\xc3T /health" + host, 400),
            ("no host", b"GET /health HTTP/1.1\r\n\r\n", 400),
            ("lone LF", b"GET /health HTTP/1.1\nHost: localhost\n\n", 400),
            ("long path", b"GET /" + b"a" * 20000 + host, 414),
            ("endless path", b"GET /" + b"a" * 200000, 414),
            ("long header", b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-A: " + b"a" * 40000 + b"\r\n\r\n", 431),
            ("endless header", b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-A: " + b"a" * 1000000, 431),
            ("many headers", b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 1000 + b"\r\n", 431)]:
        refused(s, name, data, status)
    refused(s, "half a head", b"GET /health HTTP/1.1\r\nHost:", 400, end=True)
    refused(s, "half a body", POST + b"Content-Length: 10\r\n\r\n{", 400, end=True)
    refused(s, "half a chunk", POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{", 400, end=True)


def plain_requests(s):
    close = b"Host: localhost\r\nConnection: close\r\n\r\n"
    a = split_answers(s.send(b"GET /health HTTP/1.1\r\n" + close))
    check("one", [x.status for x in a] == [200], a)
    a = split_answers(s.send(b"\r\n\r\nGET /health HTTP/1.1\r\n" + close))
    check("empty lines before", [x.status for x in a] == [200], a)
    a = split_answers(s.send(b"GET http://localhost/health HTTP/1.1\r\n" + close))
    check("a whole URL", [x.status for x in a] == [200], a)
    a = split_answers(s.send(b"GET /health HTTP/1.0\r\n\r\n"))
    check("HTTP/1.0", [x.status for x in a] == [200], a)
    a = split_answers(s.send(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20 + b"GET /nothing HTTP/1.1\r\n" + close))
    check("pipelining", [x.status for x in a] == [200] * 20 + [404], [x.status for x in a])
    a = split_answers(s.send(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n" + b"junk\r\n\r\n"))
    check("a request, then junk", [x.status for x in a] == [200, 400], [x.status for x in a])
    a[1].error
    a = split_answers(s.send(POST + b"Content-Length: 2\r\n\r\n{}" + b"GET /health HTTP/1.1\r\n" + close))
    check("a body, then a request", [x.status for x in a] == [400, 200], [x.status for x in a])
    # bodies of those that don't have one are no requests
    for method in (b"GET", b"DELETE", b"PUT", b"POST"):
        a = split_answers(s.send(method + b" /nothing HTTP/1.1\r\nHost: localhost\r\nContent-Length: " +
                                 str(len(NEXT)).encode() + b"\r\n\r\n" + NEXT, timeout=3))
        check("a body that is a request", [x.status for x in a] == [404], method, [x.status for x in a])
    with socket.create_connection(("127.0.0.1", s.port), timeout=20) as c:
        request = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        for i in range(len(request)):
            c.sendall(request[i:i + 1])
        got = b""
        while piece := c.recv(4096):
            got += piece
        check("byte by byte", got.startswith(b"HTTP/1.1 200 "), got)
    for half in (False, True):
        with socket.create_connection(("127.0.0.1", s.port), timeout=20) as c:
            c.sendall(POST + b"Expect: 100-continue\r\nConnection: close\r\nContent-Length: 2\r\n\r\n")
            got = c.recv(4096)
            check("100-continue", got.startswith(b"HTTP/1.1 100 "), got)
            c.sendall(b"{" if half else b"{}")
            time.sleep(0.05)
            c.sendall(b"}" if half else b"")
            got = b""
            while piece := c.recv(4096):
                got += piece
            check("100-continue", got.startswith(b"HTTP/1.1 400 "), got)
    a = split_answers(s.send(POST + b"Expect: 100-continue\r\nContent-Length: 100000000\r\n\r\n"))
    check("100-continue of too much", [x.status for x in a] == [413], [x.status for x in a])


def methods(s):
    for method, path, status, allow in [
            ("GET", "/v1/images/generations", 405, "POST"), ("PUT", "/v1/images/edits", 405, "POST"),
            ("POST", "/v1/models", 405, "GET, HEAD"), ("DELETE", "/health", 405, "GET, HEAD"),
            ("PATCH", "/v1/jobs/x", 405, "DELETE"), ("BREW", "/health", 405, "GET, HEAD"),
            ("GET", "/nothing", 404, None), ("POST", "/v1/images/generations/", 404, None),
            ("GET", "/pictures/../../etc/passwd", 404, None), ("GET", "/pictures/%2e%2e%2fetc%2fpasswd", 404, None),
            ("GET", "/pictures/", 404, None), ("GET", "//health", 404, None)]:
        a = s.ask(method, path)
        check(path, a.status == status and a.headers.get("allow") == allow, method, a.status, a.headers)
        a.error
    a = s.ask("OPTIONS", "/v1/images/generations")
    check("OPTIONS", a.status == 204 and a.headers["allow"] == "POST", a.status, a.headers)
    check("OPTIONS", not any(k.startswith("access-control") for k in a.headers), a.headers)
    a = s.ask("HEAD", "/v1/models")
    check("HEAD", a.status == 200 and a.body == b"" and int(a.headers["content-length"]) > 0, a.headers)


def large_bodies(s):
    """100 MB are refused without being held, as one that says so before, and sent by one who doesn't listen."""
    before = s.memory()
    for path in ("/v1/images/generations", "/v1/images/edits", "/sdapi/v1/txt2img"):
        with socket.create_connection(("127.0.0.1", s.port), timeout=60) as c:
            c.sendall(b"POST " + path.encode() + b" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000000\r\n\r\n")
            for _ in range(100):
                c.sendall(b"x" * 1000000)
            got = b""
            while piece := c.recv(65536):
                got += piece
            a = split_answers(got)
            check("100 MB", [x.status for x in a] == [413], [x.status for x in a])
            a[0].error
    check("memory", s.memory() < before + (8 << 20), before, s.memory())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, Server(sys.argv[1], "-m", tiny(sys.argv[2], folder)) as server:
        sys.exit(run([two_readings, chunks, no_requests, plain_requests, methods, large_bodies], server))
