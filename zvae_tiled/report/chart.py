"""Draws line charts as SVG, so that reports, plans and the docs need no plotting package."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10
from typing import Literal

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 860, 330, 70, 20, 40, 50
"""Width of the picture, height of the plot area, and the margins around it, in SVG units."""

ACROSS = WIDTH - LEFT - RIGHT
COLOURS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#000000")
"""Okabe and Ito's, which the colour-blind can tell apart."""

DASHES = ("none", "9 4", "2 3", "9 4 2 4", "14 5", "5 2")
MARKERS = (
    "m-3 0a3 3 0 1 0 6 0a3 3 0 1 0 -6 0z",
    "m-3 -3h6v6h-6z",
    "m0 -4l4 7h-8z",
    "m0 -4l4 4l-4 4l-4 -4z",
    "m-4 -3h8l-4 7z",
    "m-3 -1h2v-2h2v2h2v2h-2v2h-2v-2h-2z",
)
"""Circle, square, triangle, diamond, triangle upside down, cross: so that lines differ without their colours, too."""

MARKED = 12
"""The most markers on a line."""

ROUND = (1, 2, 5)
"""The first digits of marks on an axis."""

Line = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Axis:
    """The marks of an axis, and the position of a value on it.

    Attributes:
        marks: Values, and the label of each.
        share: Maps a value to its position, as a share of the axis' length.
    """

    marks: Sequence[tuple[float, str]]
    share: Callable[[float], float]


def linear(largest: float) -> Axis:
    """Return an axis from zero, with at most seven marks, at multiples of 1, 2 or 5 times a power of ten."""
    least = (largest or 1.0) / 6
    power = floor(log10(least))
    step = next(digit * 10.0**at for at in (power, power + 1) for digit in ROUND if digit * 10.0**at >= least)
    count = max(1, ceil(largest / step))
    return Axis([(step * i, f"{step * i:,.10g}") for i in range(count + 1)], lambda value: value / (step * count))


def logarithmic(smallest: float, largest: float) -> Axis:
    """Return a logarithmic axis, with marks at 1, 2, 5, 10 and so on."""
    powers = range(floor(log10(smallest)) - 1, floor(log10(largest)) + 2)  # log10(999.99…) may round to 3
    round_values = [digit * 10.0**power for power in powers for digit in ROUND]
    bottom = max(value for value in round_values if value <= smallest)
    top = min(value for value in round_values if value >= largest and value > bottom)
    marks = [(value, f"{value:,g}") for value in round_values if bottom <= value <= top]
    return Axis(marks, lambda value: log10(value / bottom) / log10(top / bottom))


def line_chart(
    title: str, x_label: str, y_label: str, lines: Mapping[str, Line], log: Literal["", "y", "xy"] = ""
) -> str:
    """Return a chart of lines, as SVG.

    Args:
        title: Title of the chart.
        x_label: Label of the horizontal axis.
        y_label: Label of the vertical axis.
        lines: The points of each line, from left to right, by the line's name.
        log: The axes that are logarithmic. Their values must be above zero.
    """
    xs, ys = zip(*(point for line in lines.values() for point in line), strict=True)
    across = logarithmic(min(xs), max(xs)) if "x" in log else linear(max(xs))
    up = logarithmic(min(ys), max(ys)) if "y" in log else linear(max(ys))
    top = TOP + 16 * len(lines)  # room for the names above the plot area
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top + HEIGHT + BOTTOM}"',
        ' font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{top + HEIGHT + BOTTOM}" fill="white"/>',
        f'<text x="{WIDTH / 2}" y="22" text-anchor="middle" font-size="15">{escape(title)}</text>',
        f'<g transform="translate({LEFT} {top + HEIGHT})">',
        f'<text x="{ACROSS / 2}" y="{BOTTOM - 8}" text-anchor="middle">{escape(x_label)}</text>',
        f'<text transform="translate({16 - LEFT} {-HEIGHT / 2}) rotate(-90)" text-anchor="middle">',
        f"{escape(y_label)}</text>",
        *_grid(across, up),
    ]
    for i, (name, line) in enumerate(lines.items()):
        colour, dashes, marker = (each[i % len(each)] for each in (COLOURS, DASHES, MARKERS))
        stroke = f'stroke="{colour}" stroke-width="1.5" stroke-dasharray="{dashes}"'
        points = [(across.share(x) * ACROSS, -up.share(y) * HEIGHT) for x, y in line]
        path, every = "L".join(f"{x:.1f} {y:.1f}" for x, y in points), ceil(len(points) / MARKED)
        low = 16 * (i - len(lines)) - HEIGHT + 8
        marked = [*points[every // 2 :: every], (20, low - 4)]
        parts += [
            f'<path d="M{path}" fill="none" {stroke}/>',
            f'<line x2="40" y1="{low - 4}" y2="{low - 4}" {stroke}/>',
            f'<path d="{"".join(f"M{x:.1f} {y:.1f}{marker}" for x, y in marked)}" fill="{colour}"/>',
            f'<text x="48" y="{low}">{escape(name)}</text>',
        ]
    return "\n".join([*parts, "</g>", "</svg>\n"])


def _grid(across: Axis, up: Axis) -> Iterator[str]:
    for value, label in up.marks:
        y = -up.share(value) * HEIGHT
        yield f'<path d="M0 {y:.1f}H{ACROSS}" stroke="#ddd"/>'
        yield f'<text x="-6" y="{y + 4:.1f}" text-anchor="end">{label}</text>'
    for value, label in across.marks:
        yield f'<text x="{across.share(value) * ACROSS:.1f}" y="18" text-anchor="middle">{label}</text>'
