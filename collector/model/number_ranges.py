"""Runs of whole numbers: received ones, new ones, missing ones. A run is (first, last), both included. Pure."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["Run", "holes", "runs_of", "united", "without"]

Run = tuple[int, int]


def runs_of(numbers: Iterable[int]) -> list[Run]:
    """Sorted, apart from each other by at least one number."""
    found: list[Run] = []
    first = last = -2
    for number in sorted(numbers):
        if number > last + 1:
            if last >= first >= 0:
                found.append((first, last))
            first = number
        last = number
    if first >= 0:
        found.append((first, last))
    return found


def without(run: Run, known: Iterable[Run]) -> list[Run]:
    """What of `run` lies in none of `known`, which are sorted and apart."""
    new: list[Run] = []
    first, last = run
    for known_first, known_last in known:
        if known_last < first or known_first > last:
            continue
        if known_first > first:
            new.append((first, known_first - 1))
        first = known_last + 1
    if first <= last:
        new.append((first, last))
    return new


def united(run: Run, touching: Iterable[Run]) -> Run:
    """One run of `run` and of those that overlap or touch it."""
    first, last = run
    for other_first, other_last in touching:
        first, last = min(first, other_first), max(last, other_last)
    return first, last


def holes(known: Iterable[Run], head: int) -> list[Run]:
    """What is missing of 0 to head - 1; `known` sorted and apart."""
    return without((0, head - 1), known) if head > 0 else []
