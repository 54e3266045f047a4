"""Rates as the SVG path of a sparkline, with a break wherever the rate is not known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

__all__ = ["HEIGHT", "WIDTH", "area_path", "line_path", "y_of"]

WIDTH, HEIGHT = 96, 24  # of the line in a table's row, in its own units
_MARGIN: Final = 1.5  # half of the stroke's width, and a little

Rates = Sequence[float | None]


def line_path(rates: Rates, top: float | None = None, width: float = WIDTH, height: float = HEIGHT) -> str:
    """The `d` of a path. `top`: the rate at the upper edge; else the highest. A rate between two unknown ones is a dash."""
    paths = []
    for run in _runs(rates, top, width, height):
        (x, y), *rest = run
        rest = rest or [(x + width / max(1, len(rates)) / 2, y)]
        paths.append(f"M{x:.1f} {y:.1f}" + "".join(f"L{a:.1f} {b:.1f}" for a, b in rest))
    return "".join(paths)


def area_path(rates: Rates, top: float | None = None, width: float = WIDTH, height: float = HEIGHT) -> str:
    """The area between the line and zero."""
    return "".join(
        f"M{run[0][0]:.1f} {height}" + "".join(f"L{x:.1f} {y:.1f}" for x, y in run) + f"L{run[-1][0]:.1f} {height}Z"
        for run in _runs(rates, top, width, height)
        if len(run) > 1
    )


def y_of(rate: float, top: float, height: float = HEIGHT) -> float:
    """The y coordinate of a rate; 0 is the upper edge."""
    return height - _MARGIN - min(1.0, rate / max(top, 1e-9)) * (height - 2 * _MARGIN)


def _runs(rates: Rates, top: float | None, width: float, height: float) -> list[list[tuple[float, float]]]:
    known = [rate for rate in rates if rate is not None]
    top = max(known, default=0.0) if top is None else top
    step = width / max(1, len(rates) - 1)
    runs: list[list[tuple[float, float]]] = [[]]
    for place, rate in enumerate(rates):
        if rate is None:
            runs.append([])
        else:
            runs[-1].append((place * step, y_of(rate, top, height)))
    return [run for run in runs if run]
