"""Arguments: every public function and every option of every command with wrong inputs: only errors of this package."""

from __future__ import annotations

from tests.campaign.part import Part
from tests.campaign.wrong import functions, options

EACH = 60
"""Wrong inputs of each parameter: all of one seed differ."""

PARTS = (
    Part(
        "functions",
        "calls of a public function with one wrong argument, 60 for each parameter: it works, or raises an error of "
        "this package that says why",
        aim=EACH * len(functions.targets()),
        sample=len(functions.targets()),
        attempt=functions.attempt,
    ),
    Part(
        "options",
        "commands with one wrong word, 60 for each option and argument: exit code 0, 2, 3, 4 or 5, a message, no "
        "traceback",
        aim=EACH * len(options.targets()),
        sample=len(options.targets()) // 2,
        attempt=options.attempt,
    ),
)
