"""`Sweep` and `Stage`: the passes over the rows that make up a plan, and what each will cost."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from zvae_tiled.chain import Chain
from zvae_tiled.checks import is_count, shown
from zvae_tiled.errors import PlanError

Ending = Literal["moments", "queries", "sums", "shares", "keys", "pixels"]
Medium = Literal["ram", "disk"]

SAMPLING: tuple[Ending, ...] = ("queries", "sums", "shares")
"""What the sweeps before the keys end in, if keys are sampled (engine/sampled.py)."""

AGAIN = "Make the plan again with zvae_tiled.plan()."
"""Advice for a plan that cannot be used."""


EXECUTED = ("start", "stop", "ends", "rows", "store", "medium", "anew")
"""The fields of a sweep that are executed. The others are predictions."""


@dataclass(frozen=True)
class Sweep:
    """One pass over the rows, from a stored cut to a later one.

    Attributes:
        start: The stored cut it reads.
        stop: The cut it reaches.
        ends: What it ends in: ``moments``, the attention's ``keys``, or ``pixels`` (in an encode, the latents). Before
            sampled keys: the ``queries`` that are answered exactly, their ``sums``, and the ``shares`` of the keys.
        rows: Height of a band at the start cut.
        store: The cut it stores, if any. The map stored before is then freed as it is read.
        medium: Where the stored cut or the keys are kept.
        anew: Whether the weights of convolutions are prepared for each band anew, and not held during the sweep.
        peak: Predicted bytes.
        flops: Predicted multiplications and additions.
        io: Predicted bytes written to and read from disk.
        seconds: Predicted time.
        attending: The seconds of the attention, its keys and values included.
        spilling: The seconds of the disk.
        disk: Predicted bytes on disk.
    """

    start: int
    stop: int
    ends: Ending
    rows: int
    store: int | None = None
    medium: Medium | None = None
    anew: bool = False
    peak: int = 0
    flops: int = 0
    io: int = 0
    seconds: float = 0.0
    attending: float = 0.0
    spilling: float = 0.0
    disk: int = 0

    @property
    def choice(self) -> str:
        """What happens to the map at its end: keep, spill or drop."""
        return "drop" if self.medium is None else {"ram": "keep", "disk": "spill"}[self.medium]

    @property
    def executed(self) -> tuple[Any, ...]:
        """The values of the fields that are executed."""
        return tuple(getattr(self, name) for name in EXECUTED)


@dataclass(frozen=True)
class Stage:
    """Sweeps over a map of one size, from one cut to another.

    Attributes:
        name: ``pixels`` ends in the picture. Tiles and streams may have two stages before it: ``middle``, from the
            latents to the end of the middle block, and ``statistics``, which gathers moments of the map or of a proxy.
        height: Rows of its latents: those of the whole map, of a proxy, or of the largest tile.
        width: Columns of its latents.
        start: The cut it starts from. Any cut but 0 was stored by an earlier stage.
        stop: The cut it ends at; None for the picture.
        known: The cuts whose moments are known before it starts.
        keeps: Where the map at its last cut is stored for the next stage; None if it is not stored.
        base: Bytes held from its first sweep to its last.
        finished: Bytes of the finished picture, held in its last sweep.
        kept: Bytes on disk from its first sweep to its last.
        sweeps: Its sweeps, in their order.
        needed_flops: Multiplications and additions if nothing is computed twice.
        sampled: The most keys that its attention keeps; None if it keeps all.
    """

    name: str
    height: int
    width: int
    start: int = 0
    stop: int | None = None
    known: tuple[int, ...] = ()
    keeps: Medium | None = None
    base: int = 0
    finished: int = 0
    kept: int = 0
    sweeps: tuple[Sweep, ...] = ()
    needed_flops: int = 0
    sampled: int | None = None

    @property
    def peak(self) -> int:
        """The most bytes alive at once."""
        return max((sweep.peak for sweep in self.sweeps), default=self.base)

    @property
    def spilled(self) -> int:
        """The most bytes on disk at once."""
        return max((sweep.disk for sweep in self.sweeps), default=self.kept)

    @property
    def flops(self) -> int:
        """Multiplications and additions."""
        return sum(sweep.flops for sweep in self.sweeps)

    @property
    def seconds(self) -> float:
        """Predicted time."""
        return sum(sweep.seconds for sweep in self.sweeps)

    def resized(self, height: int, width: int) -> Stage:
        """Return the stage for latents of at most the same size, with the same sweeps."""
        return replace(self, height=height, width=width)

    def check(self, chain: Chain) -> None:
        """Refuse sweeps that would not compute every row of every map once.

        Raises:
            PlanError: The sweeps do not follow one another, or pass a barrier before its moments are known.
        """
        needed = endings(chain, self)
        stored = self.start
        for sweep in self.sweeps:
            where = f"sweep {shown(sweep.start)}-{shown(sweep.stop)}"
            if not needed or not is_count(sweep.stop) or (sweep.ends, sweep.stop) != needed.pop(0):
                raise PlanError(f"{where} ({shown(sweep.ends)}) is not the next one needed", AGAIN)
            after = stored if sweep.store is None else sweep.store
            counts = is_count(sweep.start) and is_count(after)
            if not (counts and sweep.start == stored <= sweep.stop):
                raise PlanError(f"{where} does not start at cut {stored}", AGAIN)
            if sweep.store is not None and not stored < after <= sweep.stop:
                raise PlanError(
                    f"{where} cannot store a map at cut {shown(after)}: its cuts are behind {stored}", AGAIN
                )
            if not is_count(sweep.rows) or not 1 <= sweep.rows <= self.height * chain.factors[stored]:
                raise PlanError(f"{where} reads {shown(sweep.rows)} rows at once, its map has fewer", AGAIN)
            kept = sweep.ends == "keys" or sweep.store is not None
            if sweep.medium not in (("ram", "disk") if kept else (None,)):
                raise PlanError(f"a map cannot be kept in {shown(sweep.medium)}", AGAIN)
            if not isinstance(sweep.anew, bool):
                raise PlanError(f"anew must be true or false, it is {shown(sweep.anew)}", AGAIN)
            if sweep.store is not None and sweep.ends != "moments":
                raise PlanError(f"{where} cannot store a map where it ends", AGAIN)
            stored = after
        if needed:
            ends, cut = needed[0]
            raise PlanError(f"the plan ends before its sweep to cut {cut} ({ends})", AGAIN)
        last = self.sweeps[-1:]
        if (
            self.keeps is not None
            and self.stop != self.start
            and [(sweep.store, sweep.medium) for sweep in last] != [(self.stop, self.keeps)]
        ):
            raise PlanError(f"the map at the end of the stage {self.name!r} is not kept", AGAIN)


def shares_skip(chain: Chain, start: int, store: int, before: Medium | None, medium: Medium | None) -> bool:
    """Return whether the one skip at a cut to store is the very map that is stored already, and stays there.

    Args:
        chain: The Chain.
        start: The stored cut that the sweep reads. Its map becomes the skip.
        store: The cut to store.
        before: Where the map at `start` is stored; None if it belongs to an earlier stage.
        medium: Where the cut is stored.
    """
    passed = chain.steps[start:store]
    same = passed[0].opens and not any(step.joins or step.closes for step in passed)
    return start > 0 and before == medium and same and len(chain.open[store]) == 1


def endings(chain: Chain, stage: Stage) -> list[tuple[Ending, int]]:
    """Return what each sweep of a stage must end in, and at which cut, in order."""
    ends: list[tuple[Ending, int]] = []
    for cut in chain.barriers:
        if cut < stage.start or cut in stage.known or (stage.stop is not None and cut > stage.stop):
            continue
        for gathered in chain.steps[cut].gathers:
            sampling = SAMPLING if gathered == "keys" and stage.sampled is not None else ()
            ends += [(each, cut) for each in (*sampling, gathered)]
    if stage.stop is not None and stage.keeps is not None and ("moments", stage.stop) not in ends:
        ends.append(("moments", stage.stop))  # nothing is gathered there, but the map is stored
    return ends if stage.stop is not None else [*ends, ("pixels", len(chain.steps))]
