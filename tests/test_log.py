"""What the library logs, and that it is silent unless a program listens."""

from __future__ import annotations

import ast
import io
import json
import logging
import re
import subprocess
import sys
from pathlib import Path

import mlx.core as mx
import pytest

import zvae_tiled
from tests.support.models import random_latents, random_vae
from tests.support.running import CONFIG, environment
from tests.support.video import SMALL, video_latents, video_vae
from zvae_tiled.devices.here import this_device

MODEL, LATENTS = random_vae(CONFIG), random_latents(CONFIG, 6, 8)


def heard(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == level]


def test_a_decode_says_what_is_planned_and_what_is_finished(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "zvae_tiled")
    MODEL.decode(LATENTS, budget="1GB")
    planned, finished = heard(caplog, logging.INFO)
    what = "decode of 1 x 16x12, float32 on cpu"
    assert planned.startswith(f"planned: {what}")
    assert " of 1 GB, " in planned
    assert finished.startswith(f"finished: {what}")
    assert "measured, " in finished
    assert not heard(caplog, logging.DEBUG)
    assert {record.name for record in caplog.records} == {"zvae_tiled"}


def test_a_stream_says_it_too_when_its_last_row_is_taken(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "zvae_tiled")
    rows = MODEL.stream(LATENTS, budget="1GB")
    next(rows)
    assert [text.partition(":")[0] for text in heard(caplog, logging.INFO)] == ["planned"]
    list(rows)
    assert [text.partition(":")[0] for text in heard(caplog, logging.INFO)] == ["planned", "finished"]


def test_a_video_says_it_too(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "zvae_tiled")
    video = video_vae(SMALL).video(video_latents(SMALL, 1, 2, 2), budget="1GB")
    for run in (lambda: video.write(io.BytesIO()), lambda: list(video.frames())):
        caplog.clear()
        run()
        planned, finished = heard(caplog, logging.INFO)
        what = f"video 1 frames of 8x8, float32 on {this_device(mx.float32).name}"
        assert planned.startswith(f"planned: {what}, memory ")
        assert re.search(r", of the budget of 1 GB, disk 0 bytes, time .+ if idle$", planned)
        assert finished.startswith(f"finished: {what}, memory ")
        assert "measured " in finished


@pytest.mark.parametrize("listens", [False, True])
def test_each_sweep_is_said_once(listens: bool, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "zvae_tiled")
    pictures = random_latents(CONFIG, 6, 8, batch=2)
    _, report = MODEL.decode(
        pictures, budget="1GB", return_report=True, progress=(lambda _: None) if listens else False
    )
    count = 2 * report.plan.sweep_count
    begun = [text.partition(":")[0] for text in heard(caplog, logging.DEBUG)]
    assert begun == [f"sweep {number} of {count}" for number in range(1, count + 1)]


def test_a_program_that_does_not_listen_sees_nothing() -> None:
    code = (
        "import zvae_tiled; from zvae_tiled import demo; vae = zvae_tiled.VAE.demo(); "
        "vae.decode(demo.latents('album')[:, :, :8, :8])"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment())
    assert (child.returncode, child.stdout, child.stderr) == (0, "", "")


@pytest.mark.slow
def test_only_the_command_line_prints() -> None:
    root = Path(zvae_tiled.__file__).parent
    printing = set()
    for path in root.rglob("*.py"):
        calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        if any(isinstance(call.func, ast.Name) and call.func.id == "print" for call in calls):
            printing.add(str(path.relative_to(root)))
    # progress=True asks for a line on the terminal. And where an error has ended the program, nobody listens any more.
    expected = {"report/progress.py", "adapters/rescue.py"}
    assert {name for name in printing if not name.startswith("cli/")} == expected


def test_a_report_is_plain_values() -> None:
    _, report = MODEL.decode(LATENTS, budget="1GB", return_report=True)
    told = report.to_dict()
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert (told["pictures"], told["height"], told["width"], told["task"]) == (1, 12, 16, "decode")
    assert (told["plan"], told["sweeps"]) == (report.plan.digest, report.plan.sweep_count)
    for name in ("budget", "predicted_peak", "measured_peak", "seconds", "exact", "expected_error"):
        assert told[name] == getattr(report, name)
    documented = f"{type(report).to_dict.__doc__}"
    assert [name for name in told if f"``{name}``" not in documented] == []
