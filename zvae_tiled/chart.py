"""Line charts as SVG, in a few lines of our own: reports, plans and the docs need no plotting package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 860, 420, 70, 50, 40, 20
COLOURS = ("#d62728", "#1f77b4", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b")

Line = Sequence[tuple[float, float]]


def line_chart(title: str, x_label: str, y_label: str, lines: Mapping[str, Line]) -> str:
    """Return a chart of some lines.

    Args:
        title: What it shows.
        x_label: What goes to the right.
        y_label: What goes up.
        lines: Points from left to right, by the lines' names.
    """
    title, x_label, y_label = escape(title), escape(x_label), escape(y_label)
    right = max(x for line in lines.values() for x, _ in line) or 1.0
    top = (max(y for line in lines.values() for _, y in line) or 1.0) * 1.05
    across, up = (WIDTH - LEFT - RIGHT) / right, (HEIGHT - TOP - BOTTOM) / top
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"',
        ' font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{WIDTH / 2}" y="22" text-anchor="middle" font-size="15">{title}</text>',
        f'<text x="{WIDTH / 2}" y="{HEIGHT - 8}" text-anchor="middle">{x_label}</text>',
        f'<text transform="translate(16 {HEIGHT / 2}) rotate(-90)" text-anchor="middle">{y_label}</text>',
    ]
    for i in range(6):
        y, x = HEIGHT - BOTTOM - i * top / 5 * up, LEFT + i * right / 5 * across
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{i * top / 5:,.0f}</text>')
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{i * right / 5:,.1f}</text>')
    for i, (name, line) in enumerate(lines.items()):
        colour = COLOURS[i % len(COLOURS)]
        path = "L".join(f"{LEFT + x * across:.1f} {HEIGHT - BOTTOM - y * up:.1f}" for x, y in line)
        parts.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        place = f'x="{WIDTH - RIGHT - 8}" y="{TOP + 16 * i + 8}" text-anchor="end"'
        parts.append(f'<text {place} fill="{colour}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>\n"])
