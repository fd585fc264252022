"""The convolutions of a Step, or its attention, in torch: a child of `benchmarks/peer.py`. Imports no MLX.

It reads an order a line as JSON, and prints the seconds that it took. Maps and weights are channels last.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch.nn import functional

from benchmarks.thread_time import seconds_of


def main() -> None:
    torch.set_num_threads(1)
    print(json.dumps(torch.__version__), flush=True)
    with torch.inference_mode():
        for line in sys.stdin:
            print(seconds_of(prepared(line)), flush=True)


@lru_cache(1)
def prepared(line: str) -> Callable[[], object]:
    """Return the work of an order, which has run once."""
    order = json.loads(line)
    work = attention(order) if order["kind"] == "attention" else convolution(order)
    work()
    return work


def convolution(order: dict[str, Any]) -> Callable[[], object]:
    """Return a convolution with its bias, and that of a shortcut, without norm, activation and sum."""
    map_of = lambda channels: last(random(order, 1, channels, order["rows"], order["width"]))  # noqa: E731
    x, skip, side = map_of(order["inputs"]), order["shortcut"], order["kernel"]
    weight, bias = last(random(order, order["outputs"], order["inputs"], side, side)), random(order, order["outputs"])
    if not skip:
        return lambda: functional.conv2d(x, weight, bias, padding=side // 2)
    beside, narrow = map_of(skip), last(random(order, order["outputs"], skip, 1, 1))
    return lambda: (functional.conv2d(x, weight, bias, padding=side // 2), functional.conv2d(beside, narrow))


def attention(order: dict[str, Any]) -> Callable[[], object]:
    """Return the attention of some rows to a square map, and the projections of queries and result."""
    channels, queries, keys = order["inputs"], order["rows"] * order["width"], order["width"] ** 2
    x, asking, giving = random(order, 1, queries, channels), *(random(order, channels, channels) for _ in range(2))
    key, value = (random(order, 1, 1, keys, channels) for _ in range(2))

    def attend() -> object:
        query = functional.linear(x, asking)[:, None]
        return functional.linear(functional.scaled_dot_product_attention(query, key, value)[:, 0], giving)

    return attend


def random(order: dict[str, Any], *shape: int) -> Any:
    """Return small random numbers."""
    return (0.1 * torch.randn(shape)).to(getattr(torch, order["dtype"]))


def last(x: Any) -> Any:
    """Return a map or weights with their channels last."""
    return x.contiguous(memory_format=torch.channels_last)


if __name__ == "__main__":
    main()
