"""`Plan`: the sweeps of a decode, or an encode, and their cost. A frozen value: print, save, compare, replay it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from zvae_tiled.chain import Chain, Task, chain_of
from zvae_tiled.config import VAEConfig
from zvae_tiled.errors import PlanError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

ITEMSIZES = {"float32": 4, "bfloat16": 2, "float16": 2}
"""Bytes of a number in storage."""

Ending = Literal["moments", "keys", "pixels"]
Medium = Literal["ram", "disk"]
Output = Literal["array", "rows"]

AGAIN = "Make it again with zvae_tiled.plan()."
"""What to do about a plan that cannot be used."""


@dataclass(frozen=True)
class Sweep:
    """One run over the rows, from a stored cut to a later one.

    Attributes:
        start: The cut it reads.
        stop: The cut it reaches.
        ends: In ``moments``, in the attention's ``keys``, or in ``pixels``: an encode's are those of its latents.
        rows: Rows of the start cut read at once.
        store: The cut it stores on its way, if any; what was stored before is then freed as it is read.
        medium: Where what it stores (a cut, or keys) is kept.
        peak: Predicted bytes.
        flops: Predicted multiplications and additions.
        io: Predicted bytes written to and read from disk.
        seconds: Predicted time.
    """

    start: int
    stop: int
    ends: Ending
    rows: int
    store: int | None = None
    medium: Medium | None = None
    peak: int = 0
    flops: int = 0
    io: int = 0
    seconds: float = 0.0

    @property
    def choice(self) -> str:
        """What happens to the map at its end: keep, spill or drop."""
        return "drop" if self.medium is None else {"ram": "keep", "disk": "spill"}[self.medium]


@dataclass(frozen=True)
class Stage:
    """The part of a decode a plan is for; an exact decode has one, from the latents to the picture.

    Attributes:
        start: The cut it starts from; one other than 0 was stored before.
        stop: The cut it goes to; None for the picture.
        known: The cuts whose moments are known beforehand.
        keeps: Where what is alive at its last cut is stored for the next stage; None if it is not.
    """

    start: int = 0
    stop: int | None = None
    known: tuple[int, ...] = ()
    keeps: Medium | None = None


WHOLE = Stage()


@dataclass(frozen=True)
class Plan:
    """How latents of one size are decoded, or encoded to, and what it will cost.

    Attributes:
        config: The VAE.
        height: Rows of the latents.
        width: Columns of the latents.
        batch: Latents in the batch; one is decoded after the other.
        dtype: The VAE's type.
        device: ``cpu``, ``metal`` or ``cuda``.
        output: ``array`` if the finished pictures are held in memory, ``rows`` if they are handed on.
        budget: Bytes the decode may use.
        sweeps: The sweeps of one picture, in their order.
        base: Bytes held from the first to the last: weights and latents.
        predicted_peak: The most bytes alive at once.
        spilled: The most bytes on disk at once.
        needed_flops: Multiplications and additions of one picture, when nothing is computed twice.
        stage: The part of the decode it is for.
        weights: Bytes of weights that `base` counts.
        gathered: Bytes of finished rows that the peak counts: the pictures, or what a file gathers.
        task: ``decode`` or ``encode``.
    """

    config: VAEConfig
    height: int
    width: int
    batch: int
    dtype: str
    device: str
    output: Output
    budget: int
    sweeps: tuple[Sweep, ...]
    base: int
    predicted_peak: int
    spilled: int
    needed_flops: int
    stage: Stage = WHOLE
    weights: int = 0
    gathered: int = 0
    task: Task = "decode"

    @cached_property
    def chain(self) -> Chain:
        """The Chain it goes through."""
        return chain_of(self.config, self.task)

    @property
    def predicted_flops(self) -> int:
        """Multiplications and additions of the whole batch."""
        return self.batch * sum(sweep.flops for sweep in self.sweeps)

    @property
    def predicted_seconds(self) -> float:
        """Time for the whole batch on this device, by its calibrated or default speeds."""
        return self.batch * sum(sweep.seconds for sweep in self.sweeps)

    @property
    def sweep_count(self) -> int:
        """Sweeps of one picture."""
        return len(self.sweeps)

    @property
    def extra_flops(self) -> float:
        """Share of the flops that compute something a second time."""
        spent = sum(sweep.flops for sweep in self.sweeps)
        return spent / self.needed_flops - 1 if self.needed_flops else 0.0

    @property
    def digest(self) -> str:
        """Twelve letters that name this plan."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:12]

    def resized(self, height: int, width: int) -> Plan:
        """Return the same sweeps for latents that are no larger: they cost no more."""
        return replace(self, height=height, width=width)

    def holding(self, weights: int, gathered: int) -> Plan:
        """Return the plan with so many more bytes of weights, and of finished rows."""
        return replace(
            self,
            base=self.base + weights,
            predicted_peak=self.predicted_peak + weights + gathered,
            weights=self.weights + weights,
            gathered=self.gathered + gathered,
        )

    def to_json(self) -> str:
        """Return the plan as JSON."""
        from zvae_tiled.plan.saved import saved

        return saved(self)

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Read the plan of an exact decode back; `zvae_tiled.read_plan` reads one of any quality.

        Raises:
            PlanError: The text is no plan of an exact decode, or of another version.
        """
        from zvae_tiled.plan.saved import read_plan

        found = read_plan(text)
        if not isinstance(found, cls):
            raise PlanError("this is the plan of a decode that is not exact", "Read it with zvae_tiled.read_plan.")
        return found

    def check(self) -> None:
        """Refuse a plan that would not compute every row of every map once.

        Raises:
            PlanError: The sweeps do not follow one another, or pass a barrier before its moments are known.
        """
        check_head(self)
        for sweep in self.sweeps:
            check_fields(sweep)
        if not all(_is_count(cut) for cut in (self.stage.start, self.stage.stop or 0, *self.stage.known)):
            raise PlanError(f"the stage {self.stage} names no cuts", AGAIN)
        wanted = endings(self.chain, self.stage)
        stored = self.stage.start
        for sweep in self.sweeps:
            if not wanted or (sweep.ends, sweep.stop) != wanted.pop(0):
                raise PlanError(f"sweep {sweep.start}-{sweep.stop} ({sweep.ends}) is not the next one needed", AGAIN)
            after = stored if sweep.store is None else sweep.store
            if not (sweep.rows > 0 and sweep.start == stored <= after <= sweep.stop):
                raise PlanError(f"sweep {sweep.start}-{sweep.stop} does not start at cut {stored}", AGAIN)
            kept = sweep.ends == "keys" or sweep.store is not None
            if sweep.medium not in (("ram", "disk") if kept else (None,)):
                raise PlanError(f"a map cannot be kept in {sweep.medium!r}", AGAIN)
            if sweep.store is not None and sweep.ends != "moments":
                raise PlanError(f"sweep {sweep.start}-{sweep.stop} cannot store a map where it ends", AGAIN)
            stored = after
        if wanted:
            raise PlanError(f"the plan ends before its sweep to {wanted[0]}", AGAIN)

    def __str__(self) -> str:
        """Render the table."""
        from zvae_tiled.plan.table import render

        return render(self)


def check_head(plan: DataclassInstance) -> None:
    """Refuse what no plan can have as its size, type, device or output.

    Raises:
        PlanError: With the field's name.
    """
    check_fields(plan)
    for name, known in (
        ("task", ("decode", "encode")),
        ("dtype", ITEMSIZES),
        ("output", ("array", "rows")),
        ("device", ("cpu", "metal", "cuda")),
    ):
        if getattr(plan, name) not in known:
            raise PlanError(f"{name} must be one of {', '.join(known)}, it is {getattr(plan, name)!r}", AGAIN)
    for name in ("height", "width", "batch"):
        if getattr(plan, name) < 1:
            raise PlanError(f"{name} must be above 0, it is {getattr(plan, name)}", AGAIN)


def check_fields(values: DataclassInstance) -> None:
    """Refuse what is no number, or no name, in a field that holds one.

    Raises:
        PlanError: With the field's name.
    """
    for field in fields(values):
        value, kind = getattr(values, field.name), str(field.type)
        whole = kind == "int" or (field.name == "store" and value is not None)
        if whole and not _is_count(value):
            raise PlanError(f"{field.name} must be a whole number, it is {value!r}", AGAIN)
        if kind == "float" and not (isinstance(value, int | float) and 0 <= value < float("inf")):
            raise PlanError(f"{field.name} must be a number, it is {value!r}", AGAIN)
        if field.name in ("task", "dtype", "device", "output") and not isinstance(value, str):
            raise PlanError(f"{field.name} must be a name, it is {value!r}", AGAIN)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def endings(chain: Chain, stage: Stage = WHOLE) -> list[tuple[Ending, int]]:
    """Return what every sweep of a stage must reach, in order."""
    found: list[tuple[Ending, int]] = []
    for cut in chain.barriers:
        if cut < stage.start or cut in stage.known or (stage.stop is not None and cut > stage.stop):
            continue
        found.append(("moments", cut))
        if chain.steps[cut].kind == "attention":
            found.append(("keys", cut))
    return found if stage.stop is not None else [*found, ("pixels", len(chain.steps))]
