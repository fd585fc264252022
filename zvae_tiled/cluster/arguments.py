"""Checks the arguments that `decode_many` and `run_striped` share, before work begins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zvae_tiled.checks import shown
from zvae_tiled.cluster.likeness import ALLOWED
from zvae_tiled.errors import InputError


def check_client(client: Any) -> None:
    """Refuse a client that cannot be one of Dask's, or whose event loop this call would hold up.

    Raises:
        InputError: It takes no tasks, or is an asynchronous one that is used on its own loop.
    """
    if not hasattr(client, "submit"):
        raise InputError(f"client must be a distributed.Client, it is {shown(client)}")
    if getattr(client, "asynchronous", False) is True:
        problem = "client is asynchronous, and its event loop would wait for this call, which waits for the loop"
        raise InputError(problem, "Call it in a thread, as with asyncio.to_thread, or use Client(asynchronous=False).")


def check_allowed(allow: Sequence[str]) -> None:
    """Refuse differences between workers that cannot be allowed.

    Raises:
        InputError: They are not all of `ALLOWED`.
    """
    names = ", ".join(ALLOWED)
    if isinstance(allow, str) or not isinstance(allow, Sequence):
        raise InputError(f"allow must be a list of some of {names}, it is {shown(allow)}")
    for name in allow:
        if not isinstance(name, str) or name not in ALLOWED:
            raise InputError(f"allow must name some of {names}, it names {shown(name)}")
