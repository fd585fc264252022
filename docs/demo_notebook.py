"""Writes ``docs/demo.ipynb``: runs its cells on the demo VAE, and stores what they show.

``python -m docs.demo_notebook`` needs ``pip install nbformat nbclient ipykernel`` beside the package. A test runs the
cells as plain Python, and compares what they print with what is stored.
"""

from __future__ import annotations

from pathlib import Path

PAGE = Path(__file__).parent / "demo.ipynb"
VARIES = "varies"
"""The tag of cells whose output depends on the machine or the time."""

CELLS = [
    """# zvae_tiled in ten cells

A plan, a decode, a stream, and a look at what is exact, with the small trained VAE that comes with the package. Nothing
is downloaded. This page is written by `python -m docs.demo_notebook`.""",
    (
        """from zvae_tiled import VAE, demo, plan

vae = VAE.demo("float32")
latents = demo.latents("cat")[:, :, 4:28, 12:44]  # a part, so that each cell takes a moment
print(latents.shape, "are latents of", 8 * latents.shape[2], "by", 8 * latents.shape[3], "pixels")""",
        "",
    ),
    """## What will it cost?

A plan predicts memory, disk and time from shapes alone. No weights are needed, so any VAE and any size will do:""",
    ("""print(plan("z-image", height=4096, width=4096, budget="8GB"))""", VARIES),
    """## A decode within a budget

The smallest budget that works is in the error for one that does not. Nothing was started then.""",
    (
        """from zvae_tiled import BudgetError

try:
    vae.decode(latents, budget="1MB")
except BudgetError as error:
    least = error.needed
    print(error)""",
        VARIES,
    ),
    (
        """pictures, report = vae.decode(latents, budget=f"{least}B", output_type="np", return_report=True)
print("measured within predicted:", report.measured_peak <= report.predicted_peak <= report.budget)
print("exact:", report.exact)""",
        "",
    ),
    ("""report""", VARIES),
    (
        """from PIL import Image

Image.fromarray((255 * pictures[0]).round().astype("uint8"))""",
        VARIES,
    ),
    """## The same bits in any budget

On a CPU two budgets give the same pixels, bit for bit. (On a GPU they agree to rounding.)""",
    (
        """import hashlib

budgets = [least, 2 * least, 1_000_000_000]
digests = {hashlib.sha256(vae.decode(latents, "np", budget=f"{budget}B")).hexdigest() for budget in budgets}
print(len(budgets), "budgets,", len(digests), "picture")""",
        "",
    ),
    """## Rows as they are finished

A picture may be larger than memory: rows come from top to bottom, and may go to a file, or over a wire.""",
    (
        """import numpy as np

rows = [np.asarray(each) for each in vae.stream(latents, budget=f"{2 * least}B")]
print("in pieces, and the same:", len(rows) > 1, np.array_equal(np.concatenate(rows, axis=1), pictures))""",
        "",
    ),
    """## What tiles would cost

Tiles must be asked for. Normalised each by itself, as other tools do it, they have seams and colours of their own. The
map shows how far they are from the exact decode:""",
    (
        """from zvae_tiled import Tiles
from zvae_tiled.report.metrics import heat_map, psnr

tiled, told = vae.decode(latents, "np", quality=Tiles(96, overlap=32, moments="tile"), return_report=True)
print("exact:", told.exact)
print(f"{psnr(tiled, pictures):.0f} dB from the exact decode")
Image.fromarray(heat_map(tiled, pictures, told.plan))""",
        "",
    ),
]
"""Text, and code with its tag."""


def main() -> None:
    """Run the cells, and write the page."""
    import nbformat
    from nbclient import NotebookClient

    book = nbformat.v4.new_notebook()
    for at, cell in enumerate(CELLS):
        if isinstance(cell, str):
            made = nbformat.v4.new_markdown_cell(cell)
        else:
            code, tag = cell
            made = nbformat.v4.new_code_cell(code, metadata={"tags": [tag]} if tag else {})
        made["id"] = f"cell-{at}"  # the same in every run
        book.cells.append(made)
    NotebookClient(book, record_timing=False).execute()
    for output in (output for cell in book.cells for output in cell.get("outputs", ())):
        if "image/jpeg" in output.get("data", {}):
            del output.data["image/png"]  # the same picture, ten times as large
    book.metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    PAGE.write_text(nbformat.writes(book) + "\n")


if __name__ == "__main__":
    main()
