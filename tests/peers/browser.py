"""A headless Chromium, driven through its debugging pipe: a page is pictured when the page says that it is drawn."""

from __future__ import annotations

import base64
import contextlib
import io
import itertools
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image

from tests.support.waiting import lives, wait

SWITCHES = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-pipe")
SAME_PIXELS = ("--force-device-scale-factor=1", "--force-color-profile=srgb")


class Browser:
    """One browser. The protocol: JSON objects that end in a zero byte, read from descriptor 3 and written to 4."""

    def __init__(self, program: str, profile: Path) -> None:
        self._command = [program, *SWITCHES, *SAME_PIXELS, f"--user-data-dir={profile}"]
        self._numbers = itertools.count(1)

    def __enter__(self) -> Browser:
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        # bash renames the descriptors: the browser expects exactly 3 and 4.
        renamed = ["bash", "-c", f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}', "bash", *self._command]
        self._process = subprocess.Popen(renamed, pass_fds=(theirs_in, theirs_out), stderr=subprocess.DEVNULL)
        os.close(theirs_in)
        os.close(theirs_out)
        self._answers = os.fdopen(self._in, "rb")
        return self

    def __exit__(self, *error: object) -> None:
        os.close(self._out)
        # All of its processes write into the profile, which is removed next.
        family = [psutil.Process(self._process.pid), *psutil.Process(self._process.pid).children(recursive=True)]
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()
        wait(lambda: not any(lives(process) for process in family))
        self._answers.close()

    def picture(self, address: str, width: int, height: int, ready: str) -> np.ndarray[Any, Any]:
        """The page, once its promise `ready` is fulfilled."""
        target, session = self._opened(address, width, height, ready)
        shot = self._ask("Page.captureScreenshot", {"format": "png"}, session)
        self._ask("Target.closeTarget", {"targetId": target})
        with Image.open(io.BytesIO(base64.b64decode(shot["data"]))) as image:
            return np.asarray(image.convert("RGB"))

    def visit(self, address: str, width: int, height: int, ready: str, dark: bool = False) -> None:
        """Open the page, wait until its promise `ready` is fulfilled, and close it."""
        target, _ = self._opened(address, width, height, ready, dark)
        self._ask("Target.closeTarget", {"targetId": target})

    def _opened(self, address: str, width: int, height: int, ready: str, dark: bool = False) -> tuple[str, str]:
        """Return the page's target and session, once its promise `ready` is fulfilled."""
        target = self._ask("Target.createTarget", {"url": "about:blank"})["targetId"]
        session = self._ask("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._ask("Emulation.setDeviceMetricsOverride", size, session)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._ask("Emulation.setEmulatedMedia", {"features": [scheme]}, session)
        self._ask("Page.enable", {}, session)
        self._ask("Page.navigate", {"url": address}, session, until="Page.loadEventFired")
        drawn = self._ask("Runtime.evaluate", {"expression": ready, "awaitPromise": True}, session)
        assert "exceptionDetails" not in drawn, drawn
        return target, session

    def _ask(self, method: str, params: dict[str, Any], session: str | None = None, until: str | None = None) -> Any:
        """Send a command; return its result once it, and the event `until`, have come."""
        number = next(self._numbers)
        command = {"id": number, "method": method, "params": params, **({"sessionId": session} if session else {})}
        os.write(self._out, json.dumps(command).encode() + b"\0")
        awaited: set[Any] = {number, until} - {None}
        result = None
        while awaited:
            answer = self._answer()
            assert "error" not in answer, answer
            awaited -= {answer.get("id"), answer.get("method")}
            result = answer["result"] if answer.get("id") == number else result
        return result

    def _answer(self) -> Any:
        """The next object from the browser."""
        text = bytearray()
        while (byte := self._answers.read(1)) != b"\0":
            assert byte, "the browser has ended"
            text += byte
        return json.loads(text)
