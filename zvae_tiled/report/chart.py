"""Draws line charts as SVG, so that reports, plans and the docs need no plotting package."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import floor, log10

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 860, 330, 70, 20, 40, 50
"""Width of the picture, height of the plot area, and the margins around it, in SVG units."""

ACROSS = WIDTH - LEFT - RIGHT
COLOURS = ("#d62728", "#1f77b4", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b")

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


def linear(largest: float, digits: int) -> Axis:
    """Return an axis from zero, with six marks."""
    top = largest or 1.0
    return Axis([(top * i / 5, f"{top * i / 5:,.{digits}f}") for i in range(6)], lambda value: value / top)


def logarithmic(smallest: float, largest: float) -> Axis:
    """Return a logarithmic axis, with marks at 1, 2, 5, 10 and so on."""
    powers = range(floor(log10(smallest)) - 1, floor(log10(largest)) + 2)  # log10(999.99…) may round to 3
    round_values = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
    bottom = max(value for value in round_values if value <= smallest)
    top = min(value for value in round_values if value >= largest and value > bottom)
    marks = [(value, f"{value:,g}") for value in round_values if bottom <= value <= top]
    return Axis(marks, lambda value: log10(value / bottom) / log10(top / bottom))


def line_chart(title: str, x_label: str, y_label: str, lines: Mapping[str, Line], ratios: bool = False) -> str:
    """Return a chart of lines, as SVG.

    Args:
        title: Title of the chart.
        x_label: Label of the horizontal axis.
        y_label: Label of the vertical axis.
        lines: The points of each line, from left to right, by the line's name.
        ratios: Whether both axes are logarithmic. All values must then be above zero.
    """
    xs, ys = zip(*(point for line in lines.values() for point in line), strict=True)
    across = logarithmic(min(xs), max(xs)) if ratios else linear(max(xs), 1)
    up = logarithmic(min(ys), max(ys)) if ratios else linear(max(ys) * 1.05, 0)
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
        colour = COLOURS[i % len(COLOURS)]
        points = [(across.share(x) * ACROSS, -up.share(y) * HEIGHT) for x, y in line]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        parts.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        if ratios:  # such charts have few points: mark each
            parts.extend(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points)
        parts.append(f'<text y="{16 * (i - len(lines)) - HEIGHT + 8}" fill="{colour}">{escape(name)}</text>')
    return "\n".join([*parts, "</g>", "</svg>\n"])


def _grid(across: Axis, up: Axis) -> Iterator[str]:
    for value, label in up.marks:
        y = -up.share(value) * HEIGHT
        yield f'<path d="M0 {y:.1f}H{ACROSS}" stroke="#ddd"/>'
        yield f'<text x="-6" y="{y + 4:.1f}" text-anchor="end">{label}</text>'
    for value, label in across.marks:
        yield f'<text x="{across.share(value) * ACROSS:.1f}" y="18" text-anchor="middle">{label}</text>'
