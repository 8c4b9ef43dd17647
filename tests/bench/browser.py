"""A headless Chromium for the checks of pages, driven by its DevTools protocol over pipes."""

import base64
import fcntl
import itertools
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ANSWER_S = 60


def find_browser():
    """Path of a Chromium, or None; `ETLKIT_BROWSER` names another one."""
    chosen = os.environ.get("ETLKIT_BROWSER")
    return chosen or next(filter(None, map(shutil.which, NAMES)), None)


def _as_3_and_4(to_browser, from_browser):
    """The browser talks through these two numbers. One pipe may have the number of the other."""
    high = [fcntl.fcntl(number, fcntl.F_DUPFD, 10) for number in (to_browser, from_browser)]
    for number, copy in zip((3, 4), high, strict=True):
        os.dup2(copy, number)


class Browser:
    """One browser with one page. Use it in a `with` statement."""

    def __init__(self, executable, *arguments, width=1400, height=900, dark=False):
        self._folder = tempfile.TemporaryDirectory(prefix="etlkit-browser-")
        ours, theirs = os.pipe(), os.pipe()  # what the browser reads, what it writes
        self._process = subprocess.Popen(
            [
                executable, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
                "--remote-debugging-pipe", "--hide-scrollbars",
                f"--user-data-dir={self._folder.name}", "about:blank", *arguments,
            ],
            pass_fds=(3, 4), preexec_fn=lambda: _as_3_and_4(ours[0], theirs[1]),  # noqa: PLW1509
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        os.close(ours[0])
        os.close(theirs[1])
        self._in, self._out = os.fdopen(ours[1], "wb", 0), os.fdopen(theirs[0], "rb")
        self._ids = itertools.count(1)
        self._buffer = b""
        self._session = None
        self.messages = []
        target = self._new_target()
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        self._resize(width, height)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def _new_target(self):
        return self.call("Target.createTarget", url="about:blank")["targetId"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self._session = None
            self.call("Browser.close")
        except (OSError, EOFError):
            self._process.kill()
        self._process.wait(timeout=30)
        self._in.close()
        self._out.close()
        self._folder.cleanup()

    def call(self, method, **parameters):
        """Send one command and wait for its result; what the page says meanwhile is kept."""
        number = next(self._ids)
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._in.write(json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]
            self._keep(answer)

    def _next(self):
        while b"\0" not in self._buffer:
            piece = os.read(self._out.fileno(), 1 << 20)
            if not piece:
                raise EOFError("the browser has ended")
            self._buffer += piece
        text, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(text)

    def _keep(self, event):
        parameters = event.get("params", {})
        if event.get("method") == "Runtime.exceptionThrown":
            details = parameters["exceptionDetails"]
            self.messages.append(details.get("exception", {}).get("description") or details["text"])
        if event.get("method") == "Log.entryAdded":
            self.messages.append(parameters["entry"]["text"])

    def open(self, path):
        """Load a file and wait for its `load` event and two more frames."""
        self.go(Path(path).resolve().as_uri())

    def go(self, url):
        """Load an address, likewise."""
        self.messages.clear()
        self.call("Page.navigate", url=url)
        self.run(
            "new Promise(done => {const go = () => requestAnimationFrame(() => setTimeout(done));"
            "if (document.readyState === 'complete') go(); else addEventListener('load', go);})"
        )

    def run(self, expression):
        """The value of an expression in the page; a promise is awaited."""
        result = self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in result:
            details = result["exceptionDetails"]
            raise RuntimeError(details.get("exception", {}).get("description") or details["text"])
        return result["result"].get("value")

    def screenshot(self, path, *, whole=False):
        """Write what is seen, or the whole page, as PNG."""
        if whole:
            size = self.call("Page.getLayoutMetrics")["cssContentSize"]
            self._resize(self._width, int(size["height"]))
            self.run("new Promise(done => setTimeout(done, 500))")
        data = self.call("Page.captureScreenshot", format="png")["data"]
        Path(path).write_bytes(base64.b64decode(data))

    def _resize(self, width, height):
        self._width = width
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip
