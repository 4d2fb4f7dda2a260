"""A headless Chromium, driven over its debugging pipe: no package is needed for that.

The Chrome DevTools Protocol: one JSON message after the other, each ended by a zero byte, to file
descriptor 3 of the browser and from its descriptor 4.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)


def executable() -> str | None:
    """The browser of this machine; ``LOSSFIT_CHROMIUM`` names another."""
    given = os.environ.get("LOSSFIT_CHROMIUM")
    return given or next((found for name in NAMES if (found := shutil.which(name))), None)


class BrowserError(RuntimeError):
    """The browser said no, or nothing in time."""


class Browser:
    """One page in a headless browser.

    Attributes
    ----------
    errors : list of str
        What the page complained of: uncaught errors, console errors and warnings, the log.
    requests : list of str
        Addresses that the page asked for, but for its own and ``data:`` and ``blob:`` ones.
    """

    def __init__(self, width: int = 1400, height: int = 900) -> None:
        self.errors: list[str] = []
        self.requests: list[str] = []
        self._home = tempfile.TemporaryDirectory(
            prefix="lossfit_browser_", ignore_cleanup_errors=True
        )
        self._number = 0
        self._pending = b""
        self._session: str | None = None
        self._events: list[dict[str, Any]] = []
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        # Descriptors 3 and 4 may be in use by pipes of ours: copies above them are safe to move.
        high = [os.dup(fd) for fd in (theirs_in, theirs_out)]
        for fd in (theirs_in, theirs_out):
            os.close(fd)

        def move() -> None:
            spare = [os.dup(os.dup(fd)) for fd in high]
            os.dup2(spare[0], 3)
            os.dup2(spare[1], 4)

        command = executable()
        assert command is not None
        self._process = subprocess.Popen(
            [command, *FLAGS, f"--user-data-dir={self._home.name}", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=move,
            pass_fds=(3, 4),
        )
        for fd in high:
            os.close(fd)
        try:
            target = self.call("Target.createTarget", url="about:blank")["targetId"]
            attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
            self._session = attached["sessionId"]
            for domain in ("Page", "Runtime", "Log", "Network"):
                self.call(f"{domain}.enable")
            self.size(width, height)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *what: object) -> None:
        self.close()

    def close(self) -> None:
        """End the browser."""
        self._session = None
        with contextlib.suppress(BrowserError, OSError):
            self.call("Browser.close", timeout=5)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        for fd in (self._in, self._out):
            with contextlib.suppress(OSError):
                os.close(fd)
        self._home.cleanup()

    def call(self, method: str, timeout: float = 180, **params: Any) -> dict[str, Any]:
        """Send a command and wait for its result."""
        self._number += 1
        number = self._number
        message: dict[str, Any] = {"id": number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        limit = time.monotonic() + timeout
        while True:
            found = self._next(limit)
            if found.get("id") == number:
                if "error" in found:
                    raise BrowserError(f"{method}: {found['error']}")
                result: dict[str, Any] = found["result"]
                return result
            self._note(found)

    def _next(self, limit: float) -> dict[str, Any]:
        """The next message."""
        while b"\0" not in self._pending:
            left = limit - time.monotonic()
            if left <= 0 or not select.select([self._in], [], [], left)[0]:
                raise BrowserError("the browser did not answer in time")
            more = os.read(self._in, 1 << 20)
            if not more:
                raise BrowserError("the browser has ended")
            self._pending += more
        text, self._pending = self._pending.split(b"\0", 1)
        message: dict[str, Any] = json.loads(text)
        return message

    def _note(self, event: dict[str, Any]) -> None:
        """Keep what the page did."""
        method, params = event.get("method", ""), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            said = details.get("exception", {}).get("description", details.get("text"))
            self.errors.append(f"uncaught: {said}")
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning"):
            said = " ".join(str(a.get("value", a.get("description"))) for a in params["args"])
            self.errors.append(f"console {params['type']}: {said}")
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.errors.append(f"log {params['entry']['level']}: {params['entry']['text']}")
        elif method == "Network.requestWillBeSent":
            url = params["request"]["url"]
            if not url.startswith(("data:", "blob:", "about:")) and url != self.address:
                self.requests.append(url)
        elif method == "Page.javascriptDialogOpening":
            self.errors.append(f"dialog: {params['message']}")
        self._events.append(event)

    address = ""

    def open(self, path: Path, ready: str = "true", timeout: float = 180) -> float:
        """Open a file and wait until an expression holds; gives the seconds that it took."""
        self.address = path.resolve().as_uri()
        self.errors.clear()
        self.requests.clear()
        start = time.perf_counter()
        self.call("Page.navigate", url=self.address)
        self.wait(f"document.readyState === 'complete' && ({ready})", timeout)
        return time.perf_counter() - start

    def run(self, code: str) -> Any:
        """The value of a JavaScript expression (a promise is awaited)."""
        found = self.call(
            "Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in found:
            details = found["exceptionDetails"]
            raise BrowserError(str(details.get("exception", details).get("description", details)))
        return found["result"].get("value")

    def wait(self, condition: str, timeout: float = 60) -> None:
        """Wait until an expression holds."""
        limit = time.monotonic() + timeout
        while True:
            with contextlib.suppress(BrowserError):  # the page may be on its way
                if self.run(condition):
                    return
            if time.monotonic() > limit or any(e.startswith("uncaught") for e in self.errors):
                raise BrowserError(f"waited in vain for: {condition}; {self.errors}")
            time.sleep(0.02)

    def settle(self) -> None:
        """Wait until the page has drawn, and take in what it said."""
        self.run("new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)))")

    def click(self, selector: str) -> None:
        """A click of the mouse on the middle of an element."""
        self.run(
            f"document.querySelector({json.dumps(selector)}).scrollIntoView({{block:'center'}})"
        )
        box = self.run(
            f"(() => {{ const b = document.querySelector({json.dumps(selector)})"
            ".getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call(
                "Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left",
                clickCount=1,
            )  # fmt: skip
        self.settle()

    def move(self, x: float, y: float) -> None:
        """Move the mouse."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def key(self, key: str, code: int, text: str = "") -> None:
        """Press a key."""
        for kind in ("keyDown", "keyUp"):
            words: dict[str, Any] = {"key": key, "code": key, "windowsVirtualKeyCode": code}
            if text and kind == "keyDown":
                words["text"] = text
            self.call("Input.dispatchKeyEvent", type=kind, **words)

    def type(self, text: str) -> None:
        """Type text into the element that has the focus."""
        self.call("Input.insertText", text=text)

    def size(self, width: int, height: int) -> None:
        """Size of the window in CSS pixels."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
            mobile=False,
        )  # fmt: skip

    def screenshot(self, path: Path, whole: bool = False) -> None:
        """Write a PNG of the window, or of the whole page."""
        found = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole,
                          **self._clip(whole))  # fmt: skip
        path.write_bytes(base64.b64decode(found["data"]))

    def _clip(self, whole: bool) -> dict[str, Any]:
        if not whole:
            return {}
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        return {
            "clip": {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        }

    def pdf(self, path: Path) -> None:
        """Print the page."""
        path.write_bytes(base64.b64decode(self.call("Page.printToPDF")["data"]))
