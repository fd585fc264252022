"""Says where the time of a decode goes: `benchmarks/profile.py` counts it."""

from __future__ import annotations

from benchmarks.profile import KINDS, Profile, profiled
from benchmarks.tables import table
from zvae_tiled.families import config_of
from zvae_tiled.report.figures import AMPLE, random_latents, random_vae

SIDES = (512, 1024)
ROUNDS = 3


def measured(dtype: str, side: int) -> Profile:
    """Return the profile of the fastest of some decodes, with everything kept."""
    config = config_of("z-image")
    vae, latents = random_vae(config, dtype), random_latents(config, side, side)
    vae.decode(latents[:, :, :8, :8])
    found = []
    for _ in range(ROUNDS):
        with profiled() as profile:
            vae.decode(latents, output_type="np", raw=True, budget=f"{AMPLE}B")
        found.append(profile)
    return min(found, key=lambda profile: profile.total)


def shares(dtype: str, ceilings: dict[str, float]) -> str:
    """Return the table of a decode's time by kind.

    Args:
        dtype: Type of the VAE.
        ceilings: Products and sums a second that all threads reach, for each kind that multiplies.
    """
    profiles = {side: measured(dtype, side) for side in SIDES}
    heads = [head for side in SIDES for head in (f"{side}², s", "share", "of ceiling")]
    lines = [[kind, *(cell for each in profiles.values() for cell in cells(each, kind, ceilings))] for kind in KINDS]
    totals = [cell for each in profiles.values() for cell in whole(each, ceilings)]
    return table(["", *heads], [*lines, ["**together**", *totals]])


def cells(profile: Profile, kind: str, ceilings: dict[str, float]) -> list[str]:
    """Return the seconds of a kind, their share, and the share of the ceiling that they reach."""
    taken, total = profile.seconds[kind], profile.total
    flops = profile.flops[kind]
    return [f"{taken:.2f}", f"{taken / total:.1%}", f"{flops / ceilings[kind] / taken:.0%}" if flops else "–"]


def whole(profile: Profile, ceilings: dict[str, float]) -> list[str]:
    """Return the seconds of the decode, and the share of them that it would take at the ceiling."""
    total = profile.total
    least = sum(flops / ceilings[kind] for kind, flops in profile.flops.items() if flops)
    return [f"{total:.2f}", "", f"{least / total:.0%}"]
