"""Small charts as inline SVG, coloured by the style sheet of the report."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

__all__ = ["bar_of_shares", "heat_map", "line_chart"]

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP, _RIGHT = 560, 210, 70, 30, 10, 10
_MOST_POINTS = 1500

_NOTHING = '<figure><figcaption class="quiet">Nothing to draw: no step was taken.</figcaption></figure>'

Series = tuple[str, str, Sequence[float], Sequence[float]]  # name, class of its colour, x, y


def line_chart(series: Sequence[Series], x_label: str, y_label: str, log: bool = False, lines: bool = True) -> str:
    """Return a chart of several series; what is not finite, or not positive on a logarithmic axis, is left out.

    Args:
        series: Name, colour class, and values along both axes.
        x_label, y_label: Of the axes.
        log: Whether the vertical axis is logarithmic.
        lines: Whether points are joined.
    """
    kept = [(name, style, _kept(xs, ys, log)) for name, style, xs, ys in series]
    kept = [part for part in kept if part[2]]
    if not kept:
        return _NOTHING
    points = [point for _, _, part in kept for point in part]
    x_range, y_range = _range([x for x, _ in points], False), _range([y for _, y in points], log)
    if not log:
        y_range = (min(y_range[0], 0.0), y_range[1])
    parts = [_axes(x_range, y_range, x_label, y_label, log)]
    for name, style, part in kept:
        places = [(_place(x, x_range, _LEFT, _WIDTH - _RIGHT), _height(y, y_range, log)) for x, y in part]
        if lines and len(places) > 1:
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
            parts.append(f'<polyline class="line {style}" points="{path}"/>')
        radius = 2.2 if len(places) < 300 else 1.2
        dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}"/>' for x, y in places)
        parts.append(f'<g class="dots {style}"><title>{html.escape(name)}</title>{dots}</g>')
    legend = "".join(
        f'<span class="key"><span class="swatch {style}"></span>{html.escape(name)}</span>' for name, style, _ in kept
    )
    return f"<figure>{_svg(parts, f'{y_label} against {x_label}')}<figcaption>{legend}</figcaption></figure>"


def heat_map(
    columns: Sequence[Sequence[float]],
    x_label: str,
    y_label: str,
    x_range: tuple[float, float],
    y_range: tuple[float, float],
) -> str:
    """Return a picture of columns of numbers, densest where they are largest.

    Args:
        columns: One for each place along the horizontal axis, all of one length, from the bottom up.
        x_label, y_label: Of the axes.
        x_range, y_range: What the sides, and the bottom and the top, stand for.
    """
    if not columns or not columns[0]:
        return _NOTHING
    most = max(max(column) for column in columns) or 1.0
    wide = (_WIDTH - _LEFT - _RIGHT) / len(columns)
    high = (_HEIGHT - _BOTTOM - _TOP) / len(columns[0])
    cells = []
    for place, column in enumerate(columns):
        for row, value in enumerate(column):
            if value > 0:
                x, y = _LEFT + place * wide, _HEIGHT - _BOTTOM - (row + 1) * high
                cells.append(
                    f'<rect x="{x:.2f}" y="{y:.2f}" width="{wide + 0.3:.2f}" height="{high + 0.3:.2f}" '
                    f'opacity="{0.08 + 0.92 * value / most:.2f}"/>'
                )
    parts = [_axes(x_range, y_range, x_label, y_label, False), f'<g class="cells">{"".join(cells)}</g>']
    caption = f'<figcaption><span class="quiet">largest: {most:.3g}</span></figcaption>'
    return f"<figure>{_svg(parts, f'{y_label} over {x_label}')}{caption}</figure>"


def bar_of_shares(shares: Sequence[tuple[str, str, float]]) -> str:
    """Return a bar that is parted by shares: name, colour class, and a number that is not negative."""
    total = sum(value for _, _, value in shares) or 1.0
    bars = "".join(
        f'<span class="part {style}" style="width:{100 * value / total:.2f}%" title="{html.escape(name)}"></span>'
        for name, style, value in shares
    )
    legend = "".join(
        f'<span class="key"><span class="swatch {style}"></span>{html.escape(name)} {value / total:.0%}</span>'
        for name, style, value in shares
    )
    return f'<div class="bar" role="img" aria-label="shares of the time">{bars}</div><p>{legend}</p>'


def _kept(xs: Sequence[float], ys: Sequence[float], log: bool) -> list[tuple[float, float]]:
    points = [
        (x, y) for x, y in zip(xs, ys, strict=True) if math.isfinite(x) and math.isfinite(y) and (y > 0 or not log)
    ]
    stride = -(-len(points) // _MOST_POINTS)
    return points[::stride] if stride > 1 else points


def _range(values: Sequence[float], log: bool) -> tuple[float, float]:
    least, most = min(values), max(values)
    if log:
        least, most = math.floor(math.log10(least)), math.ceil(math.log10(most))
        return (least, most) if most > least else (least - 1, most + 1)
    return (least, most) if most > least else (least - 0.5, most + 0.5)


def _place(value: float, limits: tuple[float, float], start: float, end: float) -> float:
    return start + (value - limits[0]) / (limits[1] - limits[0]) * (end - start)


def _height(value: float, limits: tuple[float, float], log: bool) -> float:
    return _place(math.log10(value) if log else value, limits, _HEIGHT - _BOTTOM, _TOP)


def _axes(x_range: tuple[float, float], y_range: tuple[float, float], x_label: str, y_label: str, log: bool) -> str:
    base, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    parts = [f'<path class="axis" d="M{_LEFT} {_TOP}V{base}H{right}"/>']
    if log:
        stride = max(1, -(-int(y_range[1] - y_range[0]) // 6))
        powers = range(int(y_range[0]), int(y_range[1]) + 1, stride)
        ticks = [(float(power), f"1e{power}") for power in powers]
    else:
        values = [y_range[0] + share * (y_range[1] - y_range[0]) for share in (0, 0.25, 0.5, 0.75, 1)]
        ticks = [(value, f"{value:.3g}") for value in values]
    for value, text in ticks:
        y = _place(value, y_range, base, _TOP)
        parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{right}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{text}</text>')
    for share in (0, 0.25, 0.5, 0.75, 1):
        x, value = _LEFT + share * (right - _LEFT), x_range[0] + share * (x_range[1] - x_range[0])
        anchor = "end" if share == 1 else "start" if share == 0 else "middle"
        parts.append(f'<text x="{x:.1f}" y="{base + 13}" text-anchor="{anchor}">{value:.4g}</text>')
    middle = (_LEFT + right) / 2
    parts.append(f'<text x="{middle}" y="{_HEIGHT - 3}" text-anchor="middle">{html.escape(x_label)}</text>')
    parts.append(
        f'<text x="11" y="{(base + _TOP) / 2}" text-anchor="middle" '
        f'transform="rotate(-90 11 {(base + _TOP) / 2})">{html.escape(y_label)}</text>'
    )
    return "".join(parts)


def _svg(parts: Sequence[str], title: str) -> str:
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{html.escape(title)}">{"".join(parts)}</svg>'
