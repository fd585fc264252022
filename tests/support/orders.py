"""An order to decode, and one to encode."""

from __future__ import annotations

from zvae_tiled.order import Order

DECODE = Order("decode", "vae", "a.npy", "a.png")
ENCODE = Order("encode", "vae", "a.png", "a.npz")
