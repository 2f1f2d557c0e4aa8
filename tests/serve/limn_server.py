"""A `limn serve` under test, and what its tests share: requests by hand, forms, pictures as pixels.  Standard library
only."""
import base64
import http.client
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import zlib

NO_DEVICE = 77


def png_of(width, height, colour, data):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    head = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def png(width, height, pixels, channels=3):
    """The PNG of bytes [height][width][channels], 3 or 4 of them."""
    rows = b"".join(b"\0" + pixels[y * width * channels:(y + 1) * width * channels] for y in range(height))
    return png_of(width, height, {3: 2, 4: 6}[channels], zlib.compress(rows))


def black(side):
    """A small file of side x side pixels."""
    z, rows = zlib.compressobj(1), b"\0" * (100 * (3 * side + 1))
    return png_of(side, side, 2, b"".join(z.compress(rows) for _ in range(side // 100)) + z.flush())


def chunks(data):
    at = 8
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at:at + 8])
        yield kind, data[at + 8:at + 8 + size]
        at += 12 + size


def pixels(data):
    """(width, height, bytes [height][width][3]) of an RGB PNG of 8 bits."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n", data[:40]
    parts = list(chunks(data))
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", parts[0][1])
    assert (depth, colour, interlaced) == (8, 2, 0), (depth, colour, interlaced)
    raw = zlib.decompress(b"".join(d for kind, d in parts if kind == b"IDAT"))
    out, before = bytearray(), bytearray(3 * width)
    for y in range(height):
        kind, row = raw[y * (3 * width + 1)], bytearray(raw[y * (3 * width + 1) + 1:(y + 1) * (3 * width + 1)])
        for i in range(3 * width):
            a, b, c = row[i - 3] if i > 2 else 0, before[i], before[i - 3] if i > 2 else 0
            p = a + b - c
            paeth = min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]
            row[i] = (row[i] + (0, a, b, (a + b) // 2, paeth)[kind]) & 255
        out += row
        before = row
    return width, height, bytes(out)


def settings(data):
    """The text under "parameters" of a PNG."""
    for kind, text in chunks(data):
        if kind in (b"tEXt", b"iTXt") and text.startswith(b"parameters\0"):
            return text.split(b"\0")[-1].decode("utf-8" if kind == b"iTXt" else "latin-1")
    return None


def form(fields):
    """(content type, body) of multipart/form-data.  A value is text, or (file name, bytes)."""
    line = "frontier7c1e"
    body = b""
    for name, value in fields:
        body += f"--{line}\r\nContent-Disposition: form-data; name=\"{name}\"".encode()
        if isinstance(value, tuple):
            body += f"; filename=\"{value[0]}\"\r\nContent-Type: application/octet-stream\r\n\r\n".encode() + value[1]
        else:
            body += b"\r\n\r\n" + str(value).encode()
        body += b"\r\n"
    return f"multipart/form-data; boundary={line}", body + f"--{line}--\r\n".encode()


def tiny(program, folder):
    """The model of tests/support/tiny_model.c."""
    path = os.path.join(folder, "tiny.gguf")
    subprocess.run([program, path], check=True)
    return path


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def error(self):
        """The error as OpenAI's API has it; anything else fails."""
        assert self.headers.get("content-type", "").startswith("application/json"), (self.status, self.headers)
        error = self.json["error"]
        assert set(error) == {"message", "type", "param", "code"}, error
        assert isinstance(error["message"], str) and error["message"] and isinstance(error["type"], str), error
        assert all(error[k] is None or isinstance(error[k], str) for k in ("param", "code")), error
        return error

    def pictures(self):
        assert self.status == 200, (self.status, self.body[:500])
        return [base64.b64decode(d["b64_json"]) for d in self.json["data"]]


class Server:
    """with Server(limn, "-m", model) as s: …"""

    def __init__(self, limn, *arguments, environment=None):
        self.limn, self.arguments, self.environment = limn, arguments, environment or {}

    def __enter__(self):
        self.said = tempfile.TemporaryFile()
        self.process = subprocess.Popen([self.limn, "serve", "--port", "0", *self.arguments], stderr=self.said,
                                        env={**os.environ, **self.environment})
        while True:
            said = self.log()
            found = re.search(r"serves at http://[^ ]*:(\d+) ", said)
            if found:
                self.port = int(found.group(1))
                return self
            if self.process.poll() is not None:
                if self.process.returncode == 3:
                    print("no OpenCL device: skipped")
                    sys.exit(NO_DEVICE)
                raise AssertionError(said)

    def log(self):
        self.said.seek(0)
        return self.said.read().decode(errors="replace")

    def __exit__(self, kind, *_):
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        assert kind or status == 0, (status, self.log())

    def memory(self):
        """Bytes that are its own and in memory."""
        with open(f"/proc/{self.process.pid}/smaps_rollup") as f:
            return 1024 * sum(int(line.split()[1]) for line in f if line.startswith(("Private_Dirty", "Swap:")))

    def resident(self):
        with open(f"/proc/{self.process.pid}/statm") as f:
            return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def seconds(self):
        """Of processors, that it has used."""
        with open(f"/proc/{self.process.pid}/stat") as f:
            fields = f.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def ask(self, method, path, body=None, headers=None, timeout=300):
        """body: bytes, or what is sent as JSON."""
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            headers = dict(headers or {})
            if body is not None and not isinstance(body, (bytes, str)):
                body = json.dumps(body)
                headers.setdefault("Content-Type", "application/json")
            c.request(method, path, body, headers)
            r = c.getresponse()
            return Answer(r.status, {k.lower(): v for k, v in r.getheaders()}, r.read())
        finally:
            c.close()

    def generate(self, **fields):
        fields.setdefault("response_format", "b64_json")
        return self.ask("POST", "/v1/images/generations", fields)

    def post_form(self, path, fields):
        kind, body = form(fields)
        return self.ask("POST", path, body, {"Content-Type": kind})

    def send(self, data, end=False, timeout=20):
        """All that comes back for these bytes until the server closes or says nothing for the timeout."""
        got = b""
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as s:
            try:
                s.sendall(data)
                if end:
                    s.shutdown(socket.SHUT_WR)
            except OSError:
                pass # it may refuse before all is sent
            try:
                while piece := s.recv(65536):
                    got += piece
            except (socket.timeout, ConnectionResetError):
                pass
        return got


def split_answers(data):
    """The answers in bytes that came over one connection: those with a length."""
    answers = []
    while data:
        head, _, rest = data.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        assert lines[0].startswith("HTTP/1.1 "), data[:200]
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
        status = int(lines[0].split()[1])
        size = int(headers.get("content-length", 0)) if status >= 200 else 0
        answers.append(Answer(status, headers, rest[:size]))
        data = rest[size:]
    return answers


def check(name, condition, *seen):
    if not condition:
        raise AssertionError(f"{name}: {' '.join(str(s)[:600] for s in seen)}")


def run(tests, *arguments):
    """Runs functions one after the other; the exit status."""
    failed = 0
    for test in tests:
        begin = time.time()
        try:
            test(*arguments)
            print(f"ok      {test.__name__}, {time.time() - begin:.1f} s", flush=True)
        except AssertionError as e:
            failed += 1
            print(f"FAILED  {test.__name__}: {e!r}"[:3000])
    return 1 if failed else 0
