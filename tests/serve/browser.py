"""A headless Chromium, driven through its DevTools protocol over two pipes: Python's standard library is all it needs."""
import fcntl
import json
import os
import queue
import shutil
import subprocess
import tempfile
import threading
import time

NAMES = ("chromium", "chromium-browser", "google-chrome", "chromium-headless-shell")
OPTIONS = ("--headless=new", "--remote-debugging-pipe", "--no-first-run", "--no-default-browser-check", "--disable-gpu",
           "--no-sandbox", "--disable-dev-shm-usage", "--disable-extensions", "--disable-background-networking",
           "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--force-color-profile=srgb",
           "--force-device-scale-factor=1", "--no-proxy-server")

# What a key press says, and how it is written.
KEYS = {"Enter": (13, "\r"), "Tab": (9, None), "Escape": (27, None), " ": (32, " "), "ArrowLeft": (37, None),
        "ArrowUp": (38, None), "ArrowRight": (39, None), "ArrowDown": (40, None), "Delete": (46, None)}


def find():
    """The path of a Chromium, or None."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


class Failure(Exception):
    pass


class Browser:
    def __init__(self, path):
        self.folder = tempfile.mkdtemp(prefix="limn-browser-")
        to_child, self.write = (fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in os.pipe())
        self.read, from_child = (fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in os.pipe())

        def wire():
            os.dup2(to_child, 3)
            os.dup2(from_child, 4)

        self.process = subprocess.Popen([path, *OPTIONS, f"--user-data-dir={self.folder}", "about:blank"], preexec_fn=wire,
                                        pass_fds=(3, 4), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL, start_new_session=True)
        os.close(to_child)
        os.close(from_child)
        self.number = 0
        self.came = queue.Queue()
        self.events = []
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        rest = b""
        while data := os.read(self.read, 1 << 20):
            *whole, rest = (rest + data).split(b"\0")
            for message in whole:
                self.came.put(json.loads(message))
        self.came.put(None)

    def _take(self, seconds):
        try:
            message = self.came.get(timeout=max(0.0, seconds))
        except queue.Empty:
            return False
        if message is None:
            raise Failure("the browser has ended")
        if "method" in message:
            self.events.append(message)
        return message

    def call(self, method, session=None, seconds=60, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self.write, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            answer = self._take(end - time.monotonic())
            if answer and answer.get("id") == message["id"]:
                if "error" in answer:
                    raise Failure(f"{method}: {answer['error'].get('message')}")
                return answer["result"]
        raise Failure(f"{method}: no answer in {seconds} s")

    def close(self):
        try:
            self.call("Browser.close", seconds=10)
            self.process.wait(10)
        except (Failure, OSError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        os.close(self.write)
        shutil.rmtree(self.folder, ignore_errors=True)


class Page:
    """A tab.  What its console says and what it asks for are in `said` and `asked`."""

    def __init__(self, browser):
        self.browser = browser
        target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "DOM", "Accessibility"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setFocusEmulationEnabled", enabled=True)
        self.said, self.asked, self.seen = [], [], 0

    def call(self, method, **parameters):
        return self.browser.call(method, self.session, **parameters)

    def look(self):
        """Reads what has come: the console's errors and warnings, and the addresses of requests."""
        while self.browser._take(0):
            pass
        for event in self.browser.events[self.seen:]:
            kind, p = event["method"], event["params"]
            if event.get("sessionId") != self.session:
                continue
            if kind == "Runtime.exceptionThrown":
                self.said.append(p["exceptionDetails"].get("exception", {}).get("description", "an exception"))
            elif kind == "Runtime.consoleAPICalled" and p["type"] in ("error", "warning", "assert"):
                self.said.append(" ".join(str(a.get("value", a.get("description"))) for a in p["args"]))
            elif kind == "Log.entryAdded" and p["entry"]["level"] in ("error", "warning"):
                self.said.append(f"{p['entry']['text']} {p['entry'].get('url', '')}")
            elif kind == "Network.requestWillBeSent":
                self.asked.append(p["request"]["url"])
        self.seen = len(self.browser.events)

    def open(self, address):
        self.call("Page.navigate", url=address)
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def js(self, text):
        """The value of an expression, awaited."""
        answer = self.call("Runtime.evaluate", expression=text, awaitPromise=True, returnByValue=True, userGesture=True)
        if "exceptionDetails" in answer:
            raise Failure(f"{text[:200]}: {answer['exceptionDetails'].get('exception', {}).get('description')}")
        return answer["result"].get("value")

    def wait(self, text, seconds=60):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                if value := self.js(text):
                    return value
            except Failure: # between two pages
                pass
            time.sleep(0.02)
        raise Failure(f"not within {seconds} s: {text}")

    def key(self, key, shift=False):
        code, text = KEYS.get(key, (ord(key.upper()[0]), key))
        common = {"key": key, "code": "Space" if key == " " else key, "windowsVirtualKeyCode": code,
                  "modifiers": 8 if shift else 0}
        written = {"text": text} if text else {}
        self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", **common, **written)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def type(self, text):
        self.call("Input.insertText", text=text)

    def fill(self, selector, text):
        self.js(f"{{ const e = document.querySelector({json.dumps(selector)}); e.focus(); e.select(); }}")
        self.key("Delete")
        if text:
            self.type(text)

    def mouse(self, kind, x, y):
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=0 if kind == "mouseReleased" else 1,
                  clickCount=1)

    def box(self, selector):
        return self.js(f"""{{ const e = document.querySelector({json.dumps(selector)});
            e.scrollIntoView({{ block: 'center', behavior: 'instant' }});
            const b = e.getBoundingClientRect(); [b.left, b.top, b.width, b.height] }}""")

    def click(self, selector):
        x, y, width, height = self.box(selector)
        self.mouse("mousePressed", x + width / 2, y + height / 2)
        self.mouse("mouseReleased", x + width / 2, y + height / 2)

    def choose(self, selector, path):
        """Gives a file to a control that takes one."""
        found = self.call("Runtime.evaluate", expression=f"document.querySelector({json.dumps(selector)})")["result"]
        self.call("DOM.setFileInputFiles", files=[path], objectId=found["objectId"])

    def size(self, width, height, mobile=False):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)

    def dark(self, yes):
        self.call("Emulation.setEmulatedMedia",
                  features=[{"name": "prefers-color-scheme", "value": "dark" if yes else "light"},
                            {"name": "prefers-reduced-motion", "value": "reduce"}])

    def screenshot(self):
        """A PNG's bytes."""
        import base64
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
