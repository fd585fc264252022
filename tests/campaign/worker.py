"""The process that tries cases: ``python -m tests.campaign.worker ROW PART SEED FIRST``.

It prints a line of JSON after each case. So its parent knows in which case it crashed or hangs.
"""

from __future__ import annotations

import faulthandler
import json
import os
import shutil
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

from tests.campaign.part import Case, Part, parts_of, rng_of


def main(row: str, name: str, seed: int, first: int) -> None:
    """Try case after case, until the parent closes the pipe or ends this process."""
    faulthandler.enable()
    (part,) = (part for part in parts_of(row) if part.name == name)
    # What a case prints goes to standard error, which is shown where a case fails.
    told = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    folder = Path(tempfile.mkdtemp(prefix="zvae-case-", dir=os.environ.get("TMPDIR")))
    number = first
    while True:
        outcome = _outcome(part, Case(number, rng_of(row, name, seed, number), folder, seed))
        print(json.dumps(outcome), file=told, flush=True)
        _empty(folder)
        number += 1


def _outcome(part: Part, case: Case) -> dict[str, Any]:
    try:
        return {"tried": part.attempt(case) or 1}
    except Exception:
        return {"tried": 1, "found": traceback.format_exc()}


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
