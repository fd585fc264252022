"""`Mosaic`: a weight that is laid out from pieces of the stored one, with zeros between them. No MLX."""

from __future__ import annotations

from dataclasses import dataclass

from zvae_tiled.chain import Shape


@dataclass(frozen=True)
class Mosaic:
    """How a convolution's weight is laid out from equal pieces of the stored weight.

    Rows are runs of outputs, columns are runs of inputs. The stored pieces are numbered row by row.

    Attributes:
        pieces: For each row, the number of the piece in each column, or None for zeros. Every row has a piece, or its
            bias is zeros too.
        rows: Rows of pieces in the stored weight.
        columns: Columns of pieces in the stored weight.
    """

    pieces: tuple[tuple[int | None, ...], ...]
    rows: int = 1
    columns: int = 1

    @property
    def bias(self) -> Mosaic:
        """The same of the bias, which has one column."""
        first = [next((piece for piece in row if piece is not None), None) for row in self.pieces]
        return Mosaic(tuple((None if piece is None else piece // self.columns,) for piece in first), self.rows)

    def stored(self, shape: Shape) -> Shape:
        """Return the stored shape of a weight (O, H, W, I), or of a bias (O), of this shape."""
        outputs = shape[0] // len(self.pieces) * self.rows
        return (outputs, *shape[1:-1], shape[-1] // len(self.pieces[0]) * self.columns) if shape[1:] else (outputs,)
