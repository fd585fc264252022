"""Checkpoints whose names or shapes are wrong: refused, or every weight is the stored one of its name."""

from __future__ import annotations

import json
from dataclasses import asdict
from random import Random

import numpy as np
from safetensors.numpy import save_file

from tests.campaign.mutations import reasons
from tests.campaign.part import Case
from tests.support.models import FLUX2, narrow, random_tensors, torch_shapes
from tests.support.plans import random_hunyuan, random_kin, random_tiny
from zvae_tiled import VAE, VAEConfig
from zvae_tiled.errors import InputError
from zvae_tiled.families import FAMILIES

COUNT = len(FAMILIES)


def _small(name: str) -> VAEConfig:
    """Return a small VAE of a family."""
    found = [narrow("z-image"), FLUX2, random_tiny(Random(0)), random_hunyuan(Random(0))]
    found += [random_kin(Random(seed)) for seed in range(200)]
    return next(config for config in found if config.class_name == name)


SMALL = {name: _small(name) for name in FAMILIES}


def attempt(case: Case) -> None:
    """Load a checkpoint of one of the families."""
    rng, config = case.rng, SMALL[sorted(SMALL)[case.number % COUNT]]
    sound = random_tensors(torch_shapes(config))
    if not sound:
        sound = {name: np.zeros(1, np.float32) for name in config.marks}
    stored = dict(sound)
    told = [_change(rng, stored) for _ in range(rng.choice([1, 1, 2, 3]))]
    save_file(stored, case.folder / "vae.safetensors")
    text = json.dumps({"_class_name": config.class_name, **asdict(config)})
    (case.folder / "config.json").write_text(text)
    try:
        vae = VAE.load(case.folder / "vae.safetensors", "float32", decoder_only=False)
    except InputError as error:
        reasons(error)
        return
    for name, array in vae.weights.items():
        if name not in sound:  # biases that the model has not
            assert not np.asarray(array).any(), (name, told)
            continue
        # Prefixes and names of other schemes are translated, so any name may hold the values of one that is missing.
        found = [stored[name]] if name in stored else stored.values()
        assert any(_equal(np.asarray(array), each) for each in found), (name, told)


def _equal(ours: np.ndarray, theirs: np.ndarray) -> bool:
    theirs = theirs.transpose(0, 2, 3, 1) if theirs.ndim == 4 else theirs
    return ours.size == theirs.size and np.array_equal(ours.ravel(), theirs.ravel())


def _change(rng: Random, stored: dict[str, np.ndarray]) -> str:
    """Change a name or a shape; return what was done."""
    name, other = (rng.choice(sorted(stored) or [""]) for _ in range(2))
    how = rng.choice(["drop", "rename", "swap", "reshape", "add", "transpose", "prefix"])
    if name not in stored or how == "add":
        stored[f"{name}.{rng.choice(['weight', 'bias', 'scales', '0', 'é'])}"] = np.zeros(rng.randint(1, 9), np.float32)
    elif how == "drop":
        del stored[name]
    elif how == "rename":
        stored[_mistyped(rng, name)] = stored.pop(name)
    elif how == "swap":
        stored[name], stored[other] = stored[other], stored[name]
    elif how == "reshape":
        stored[name] = stored[name].reshape(rng.choice([(-1,), (1, *stored[name].shape), (*stored[name].shape, 1)]))
    elif how == "transpose":
        stored[name] = np.ascontiguousarray(stored[name].T)
    else:
        prefix = rng.choice(["vae.", "first_stage_model.", "model.", "encoder.", "decoder.", "module."])
        stored[f"{prefix}{name}"] = stored.pop(name)
    return f"{how} {name} {other}"


def _mistyped(rng: Random, name: str) -> str:
    at = rng.randrange(len(name))
    return name[:at] + rng.choice(["", ".", "0", "1", "99999999999", "_", "É", "\0", name[at] * 2]) + name[at + 1 :]
