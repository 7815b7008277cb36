"""A headless Chromium that is driven over a pipe, with keys that are really pressed."""

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import time

BROWSER = shutil.which("chromium")
_KEYS = {"Enter": ("Enter", 13, "\r"), "Tab": ("Tab", 9, ""), "ArrowRight": ("ArrowRight", 39, ""),
         "ArrowLeft": ("ArrowLeft", 37, ""), "ArrowDown": ("ArrowDown", 40, ""), "/": ("Slash", 191, "/")}


class Page:
    """An open page. requested: every address that it has asked for."""

    def __init__(self, write, read):
        self._write, self._read, self._number, self._session, self.requested = write, read, 0, None, []

    def open(self, url: str) -> None:
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._call("Network.enable")
        self._call("Page.enable")
        self._call("Page.navigate", url=url)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def value(self, script: str):
        found = self._call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def until(self, script: str, seconds: float = 60.0) -> None:
        end = time.monotonic() + seconds
        while not self.value(script):
            assert time.monotonic() < end, f"never true: {script}"
            time.sleep(0.05)

    def press(self, key: str) -> None:
        code, number, text = _KEYS[key]
        for kind in ("keyDown", "keyUp"):
            self._call("Input.dispatchKeyEvent", type=kind, key=key, code=code, windowsVirtualKeyCode=number,
                       **({"text": text} if text and kind == "keyDown" else {}))

    def type(self, text: str) -> None:
        self._call("Input.insertText", text=text)

    def _call(self, method: str, **params) -> dict:
        self._number += 1
        session = {"sessionId": self._session} if self._session else {}
        message = {"id": self._number, "method": method, "params": params} | session
        self._write.write(json.dumps(message).encode() + b"\0")
        self._write.flush()
        while True:
            answer = json.loads(self._next())
            if answer.get("method") == "Network.requestWillBeSent":
                self.requested.append(answer["params"]["request"]["url"])
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]

    def _next(self) -> bytes:
        text = bytearray()
        while (byte := self._read.read(1)) != b"\0":
            assert byte, "the browser has ended"
            text += byte
        return bytes(text)


@contextlib.contextmanager
def page(url: str, profile: str):
    """The page at an address, in a browser of its own with its profile in that folder."""
    ours, theirs = [], []
    for pair, mine in ((os.pipe(), 1), (os.pipe(), 0)):
        ours.append(pair[mine])
        theirs.append(fcntl.fcntl(pair[1 - mine], fcntl.F_DUPFD, 20))  # out of the way of 3 and 4
        os.close(pair[1 - mine])
    process = subprocess.Popen(
        [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
         f"--user-data-dir={profile}", "--remote-debugging-pipe", "--window-size=1100,900"],
        pass_fds=(3, 4), preexec_fn=lambda: [os.dup2(one, to) for one, to in zip(theirs, (3, 4), strict=True)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for one in theirs:
        os.close(one)
    with os.fdopen(ours[0], "wb") as write, os.fdopen(ours[1], "rb") as read:
        try:
            opened = Page(write, read)
            opened.open(url)
            yield opened
        finally:
            process.kill()
            process.wait()
