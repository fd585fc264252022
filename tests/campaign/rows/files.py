"""Files: damaged weights, latents, configs, plans, indexes, journals and calibrations are refused, or read right."""

from __future__ import annotations

from tests.campaign.part import Part
from tests.campaign.read import journals, latents, names, settings, weights

PARTS = (
    Part(
        "weights",
        "damaged safetensors files: none crashes; none that the `safetensors` package refuses is accepted; the tensors "
        "of all others equal those that it reads",
        aim=80_000,
        sample=1_000,
        attempt=weights.attempt,
    ),
    Part(
        "checkpoints",
        "damaged checkpoints, whole or in shards with a damaged index: refused, or loaded as `safetensors` reads them",
        aim=4_000,
        sample=40,
        attempt=weights.attempt_checkpoint,
    ),
    Part(
        "names",
        "checkpoints of every family with names or shapes that are missing, superfluous, swapped or mistyped: 500 a "
        "family",
        aim=500 * names.COUNT,
        sample=3 * names.COUNT,
        attempt=names.attempt,
    ),
    Part(
        "latents",
        "damaged .npy, .npz and safetensors files of latents: refused, or read as NumPy and `safetensors` read them",
        aim=6_000,
        sample=300,
        attempt=latents.attempt,
    ),
    Part(
        "configs",
        "damaged config.json of every preset: refused, or a VAE that can be planned",
        aim=3_000,
        sample=60,
        attempt=settings.attempt_config,
    ),
    Part(
        "plans",
        "damaged plans: refused, or plans of the same kind, whose predictions are numbers",
        aim=3_000,
        sample=40,
        attempt=settings.attempt_plan,
    ),
    Part(
        "calibrations",
        "damaged calibrations: ignored with a reason, or used for plans whose predictions are numbers",
        aim=3_000,
        sample=60,
        attempt=settings.attempt_calibration,
    ),
    Part(
        "journals",
        "work folders with damaged journals: the decode goes on and writes the right bytes, or is refused",
        aim=1_000,
        sample=15,
        attempt=journals.attempt,
    ),
)
