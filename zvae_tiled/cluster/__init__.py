"""Many machines: orders carried out by workers of Dask distributed. Dask is imported when workers are asked for."""

from __future__ import annotations

from zvae_tiled.cluster.many import decode_many
from zvae_tiled.cluster.row import Overall, Row
from zvae_tiled.cluster.striped import run_striped

__all__ = ["Overall", "Row", "decode_many", "run_striped"]
