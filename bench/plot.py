"""Bars as SVG."""

from collections.abc import Mapping
from html import escape

LABEL, BAR, FIGURE, LINE = 330, 360, 70, 24


def bars(unit: str, values: Mapping[str, float]) -> str:
    """A picture with a bar for each value, the longest one as wide as there is room."""
    longest = max(values.values())
    rows = []
    for number, (name, value) in enumerate(values.items()):
        top, width = LINE * number + 4, round(BAR * value / longest)
        rows += [
            f'<text x="{LABEL - 8}" y="{top + 13}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{LABEL}" y="{top}" width="{width}" height="{LINE - 8}" fill="#4878a8"/>',
            f'<text x="{LABEL + width + 6}" y="{top + 13}">{value:g} {escape(unit)}</text>',
        ]
    width, height = LABEL + BAR + FIGURE, LINE * len(values) + 4
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
            'font-family="sans-serif" font-size="12">',
            f'<rect width="{width}" height="{height}" fill="#fff"/>',
            *rows,
            "</svg>\n",
        ]
    )
