"""`Video`: the decode of a video that is checked and planned, and ready to run frame by frame."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from functools import cached_property, partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import mlx.core as mx

from zvae_tiled.checks import path_of
from zvae_tiled.devices.evaluated import evaluate
from zvae_tiled.devices.heap import make_room
from zvae_tiled.devices.here import available, kernels_for, this_device
from zvae_tiled.engine.spill import check_free_space
from zvae_tiled.engine.video import VideoRun
from zvae_tiled.errors import InputError
from zvae_tiled.files.protect import check_outputs
from zvae_tiled.files.temporary import temporary_folder
from zvae_tiled.inputs.arrays import PixelType, check_output
from zvae_tiled.inputs.latents import picture_shape
from zvae_tiled.jobs.decode import finished, ready_latents
from zvae_tiled.jobs.job import Terms, norms
from zvae_tiled.jobs.limits import ceiling_of, limits
from zvae_tiled.planner.budget import parse_budget
from zvae_tiled.planner.case import Case
from zvae_tiled.planner.ends import starting_bytes
from zvae_tiled.planner.make_video import make_video_plan
from zvae_tiled.planner.video import VideoPlan, frame_count
from zvae_tiled.report.log import log_video
from zvae_tiled.report.progress import Progress, listener_of
from zvae_tiled.report.report import Meter
from zvae_tiled.report.video import VideoReport
from zvae_tiled.shortage import shortages
from zvae_tiled.sinks import Place
from zvae_tiled.sinks.array import ArraySink
from zvae_tiled.sinks.notes import case_notes
from zvae_tiled.sinks.video import video_target
from zvae_tiled.weights.vae import dtype_name
from zvae_tiled.weights.video import has_video

if TYPE_CHECKING:
    from zvae_tiled.vae import VAE


class Video:
    """The decode of a video. It returns frames one by one, or writes them.

    Attributes:
        report: Predictions and measurements of the last run; None before the first.
    """

    def __init__(
        self,
        vae: VAE,
        latents: mx.array,
        scaled: bool,
        terms: Terms,
    ) -> None:
        """Take checked latents. Most callers should use `VAE.video`.

        Args:
            vae: The VAE.
            latents: Frames of latents (T, h, w, C).
            scaled: Whether scale and shift are not undone yet.
            terms: Its budget, its progress, and the folder for spilled maps.

        Raises:
            ConfigError: The VAE decodes no videos.
            InputError: The VAE was loaded without the kernels between frames, or the budget is no amount of memory.
        """
        if not has_video(vae.config, vae.weights):
            raise InputError("a video needs the kernels between frames; this VAE holds those of one frame", _LOAD)
        self._vae = vae
        self._latents = latents
        self._scaled = scaled
        self._budget = terms.budget
        folder = terms.spill_folder
        self._folder = temporary_folder() if folder is None else path_of(folder, "spill_folder")
        self._listener = listener_of(terms.progress)
        self._device = this_device(vae.dtype)
        parse_budget(self._budget, available(vae.weight_bytes))  # raises here if it is none
        self.report: VideoReport | None = None

    @cached_property
    def plan(self) -> VideoPlan:
        """The plan for rows that are passed on. `frames` and `write` plan for what they gather, too.

        Raises:
            BudgetError: No plan fits the budget. What `frames` and `write` name includes what they gather.
        """
        return self._planned(0)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(frames, H, W, C) of the video."""
        _, height, width, channels = picture_shape(self._vae.config, self._latents)
        return frame_count(self._vae.config.video(), self._latents.shape[0]), height, width, channels

    def frames(self, dtype: PixelType = "float32") -> Iterator[mx.array]:
        """Yield frames (H, W, C), one by one, in [0, 1], or as the levels of an 8-bit picture with ``uint8``.

        The budget covers one frame. Closing the iterator early frees everything.

        Raises:
            InputError: There is no such type of pixels.
            BudgetError: No plan fits the budget beside one frame. Nothing was started.
            OutOfMemoryError: As in `write`.
        """
        check_output("mx", dtype, "NHWC", in_unit_range=True, channels=self.shape[-1])
        kind = mx.uint8 if dtype == "uint8" else mx.float32
        _, *frame = self.shape
        plan = self._planned(frame[0] * frame[1] * frame[2] * kind.size)
        return self._frames(plan, (1, *frame), kind)

    def _frames(self, plan: VideoPlan, shape: Any, kind: mx.Dtype) -> Iterator[mx.array]:
        ceiling = ceiling_of(plan, self._held)
        with limits(plan, ceiling):  # peaks are those of the process, and it resets them
            meter = Meter(self._held)
        log_video("planned", plan)
        with closing(self._rows(plan, meter)) as rows:
            for _ in range(plan.frames):
                with shortages("decoding"), limits(plan, ceiling):
                    meter.resume()
                    following = [_gathered(rows, ArraySink(shape, kind, "mx"), shape[1])]
                    meter.pause(following[0].nbytes)
                    measured = meter.measured()
                yield following.pop()
        self.report = VideoReport(plan, *measured)
        log_video("finished", self.report)

    def write(self, path: Place, *, bits: int | None = None, overwrite: bool = True) -> VideoReport:
        """Decode into picture files, one for each frame, or into raw frames.

        Args:
            path: A pattern of picture files, such as ``frames/%05d.png``; the first frame has number 0, and a file
                appears when its frame is complete. Or a file that ends in ``.rgb`` or ``.raw``, a pipe, or a file
                object open as binary: it gets the 8-bit pixels of all frames, row by row, without a header.
            bits: Bits of a channel in picture files.
            overwrite: Whether existing files are replaced.

        Returns:
            A report of predictions and measurements.

        Raises:
            BudgetError: No plan fits the budget. Nothing was started.
            OutputError: A file cannot be written, or is one of the VAE's files.
            OutOfMemoryError: Memory ran out. No second plan is made, because frames may be written already.
        """
        target = video_target(path, self.shape, bits, overwrite)
        check_outputs(target.paths, self._vae.sources)
        plan = self._planned(target.gathered)
        target.check_room(plan.spilled, self._folder)
        sink = target.sink(case_notes(plan.case, "exact"))
        log_video("planned", plan)
        try:
            with shortages("decoding"), limits(plan, ceiling_of(plan, self._held)):
                meter = Meter(self._held)
                for frame, rows in self._rows(plan, meter):
                    sink.write(frame, rows)
                    meter.host(sink.host_bytes)
                    del rows
                self.report = VideoReport(plan, *meter.measured())
            sink.close()
        except BaseException:  # Ctrl-C too
            sink.abort()
            raise
        log_video("finished", self.report)
        return self.report

    def _planned(self, gathered: int) -> VideoPlan:
        vae = self._vae
        count, height, width, _ = self._latents.shape
        case = Case(vae.config, height, width, self._device.name, dtype_name(vae.dtype), count, "rows")
        budget = parse_budget(self._budget, available(vae.weight_bytes))
        return make_video_plan(case, budget, self._device, vae.weight_bytes, gathered)

    @property
    def _held(self) -> int:
        """Bytes of weights and latents, which exist before the decode starts."""
        return self._vae.weight_bytes + self._latents.nbytes

    def _rows(self, plan: VideoPlan, meter: Meter) -> Generator[tuple[int, mx.array], None, None]:
        """Yield the number of a frame, and its next finished rows."""
        check_free_space(self._folder, plan.spilled)
        vae, config = self._vae, self._vae.config
        kernels: Any = kernels_for(self._device, vae.dtype)
        run = VideoRun(plan, kernels, vae.weights, norms(config.chain("decode"), vae.weights), self._folder)
        passed = 0
        for frame, rows in run.rows(partial(self._ready, plan.case)):
            done = [finished(kernels.to_mlx(rows), False, config)]
            del rows
            passed += done[0].shape[1]
            self._tell(plan, meter, frame, passed)
            yield frame, done.pop()

    def _tell(self, plan: VideoPlan, meter: Meter, frame: int, passed: int) -> None:
        """Report the progress: rows of all frames that are passed on."""
        if self._listener is not None:
            height, (peak, seconds) = plan.case.pixels[0], meter.measured()
            done = passed / (height * plan.frames)
            rows = passed - frame * height
            memory = meter.now()
            self._listener(Progress(done, frame + 1, plan.frames, seconds, rows, height, plan.budget, memory, peak))

    def _ready(self, case: Case, frame: int) -> mx.array:
        one = self._latents[frame : frame + 1]
        make_room(starting_bytes(case, case.height, case.width))
        return ready_latents(one, self._vae.config, self._vae.weights, self._vae.dtype, self._scaled)


_LOAD = "Load it with video=True."


def _gathered(rows: Iterator[tuple[int, mx.array]], sink: ArraySink, height: int) -> mx.array:
    """Return the next frame (H, W, C)."""
    while height:
        ((_, following),) = islice(rows, 1)
        sink.write(0, following)
        height -= following.shape[1]
        del following
    frame: mx.array = sink.result()[0]
    evaluate(frame)
    return frame
