"""A headless Chromium led over its debugging pipe, by the standard library alone: pages, keys, pictures, requests.

Protocol: https://chromedevtools.github.io/devtools-protocol/, messages that end in a zero byte on descriptors 3 and 4.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

KEYS = {"Enter": (13, "\r"), "Tab": (9, ""), "Space": (32, " "), "ArrowRight": (39, "")}  # code, text
START = """import os, sys
os.dup2(int(sys.argv[1]), 3)
os.dup2(int(sys.argv[2]), 4)
os.execvp(sys.argv[3], sys.argv[3:])"""


def program() -> str | None:
    """Where Chromium is; None where it is not."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@contextlib.contextmanager
def open_browser() -> Iterator[Browser]:
    """A browser with a fresh profile that reaches this machine alone; closed at the end."""
    ours, theirs = os.pipe(), os.pipe()  # what it reads, what it writes
    ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (ours[0], theirs[1])]
    flags = "--headless=new --no-sandbox --remote-debugging-pipe --disable-gpu --no-first-run --mute-audio"
    more = "--disable-background-networking --disable-component-update --host-resolver-rules"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [program() or "chromium", *flags.split(), *more.split()]
        command[-1] += "=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
        command += [f"--user-data-dir={profile}", "about:blank"]
        starter = [sys.executable, "-c", START, *map(str, ends)]
        process = subprocess.Popen(
            [*starter, *command], pass_fds=ends, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for end in (*ends, ours[0], theirs[1]):
            os.close(end)
        browser = Browser(writes=ours[1], reads=theirs[0])
        try:
            yield browser
            browser.send("Browser.close")
            process.wait(10)
        finally:
            process.kill()
            process.wait()
            os.close(ours[1])
            os.close(theirs[0])


class Browser:
    """Commands over the pipe; events are kept in the order in which they came."""

    def __init__(self, *, writes: int, reads: int) -> None:
        self.writes, self.reads = writes, reads
        self.number, self.buffer, self.events = 0, b"", list[dict[str, Any]]()

    def send(self, method: str, session: str = "", **parameters: object) -> dict[str, Any]:
        """Raises:
        RuntimeError: Chromium refuses, or says nothing for a minute.
        """
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        os.write(self.writes, json.dumps(message | ({"sessionId": session} if session else {})).encode() + b"\0")
        while True:
            found = self._read(60)
            if found.get("id") == self.number:
                if "error" in found:
                    raise RuntimeError(f"{method}: {found['error']}")
                return found["result"]
            self.events.append(found)

    def _read(self, seconds: float) -> dict[str, Any]:
        while b"\0" not in self.buffer:
            if not select.select([self.reads], [], [], seconds)[0]:
                raise RuntimeError(f"Chromium said nothing for {seconds:g} s.")
            if not (more := os.read(self.reads, 2**20)):
                raise RuntimeError("Chromium has ended.")
            self.buffer += more
        line, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(line)

    def visit(self, address: str, *, width: int = 1280, height: int = 900) -> Visitor:
        """A visitor of their own, without what others have stored, on ``address``."""
        context = self.send("Target.createBrowserContext")["browserContextId"]
        target = self.send("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        visitor = Visitor(self, session)
        for domain in ("Page", "Network", "Runtime", "Accessibility"):
            visitor.send(f"{domain}.enable")
        visitor.resize(width, height)
        visitor.send("Page.navigate", url=address)
        return visitor


class Visitor:
    """One tab."""

    def __init__(self, browser: Browser, session: str) -> None:
        self.browser, self.session = browser, session

    def send(self, method: str, **parameters: object) -> dict[str, Any]:
        return self.browser.send(method, self.session, **parameters)

    def resize(self, width: int, height: int) -> None:
        """px of the window; narrow ones are phones."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.send("Emulation.setDeviceMetricsOverride", **size)

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression.

        Raises:
            RuntimeError: it throws.
        """
        found = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise RuntimeError(f"{expression}: {found['exceptionDetails']}")
        return found["result"].get("value")

    def wait(self, expression: str, *, seconds: float = 60) -> None:
        """Until the expression counts as true.

        Raises:
            TimeoutError: it does not; tells what the page says.
        """
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.evaluate(f"Boolean({expression})"):
                return
            time.sleep(0.05)
        raise TimeoutError(
            f"{expression} after {seconds:g} s; the page says: {self.evaluate('document.body.innerText')}"
        )

    def type(self, text: str) -> None:
        """Into whatever has the focus."""
        self.send("Input.insertText", text=text)

    def press(self, key: str) -> None:
        code, text = KEYS[key]
        shared = {"key": " " if key == "Space" else key, "code": key, "windowsVirtualKeyCode": code}
        self.send("Input.dispatchKeyEvent", type="keyDown", text=text, **shared)
        self.send("Input.dispatchKeyEvent", type="keyUp", **shared)

    def requests(self) -> set[str]:
        """Addresses that this tab has asked for."""
        mine = [found for found in self.browser.events if found.get("sessionId") == self.session]
        sent = [found["params"] for found in mine if found["method"] == "Network.requestWillBeSent"]
        return {found["request"]["url"] for found in sent}

    def picture(self, path: Path) -> None:
        """The whole page, not only what fits into the window."""
        found = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(found["data"]))
