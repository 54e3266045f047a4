"""Why the forks of a pod were only counted, in words that are alike on a page and on a terminal."""

from __future__ import annotations

from wire.numbers import number

__all__ = ["limit_text"]


def limit_text(reason: str | None, limit: int | None) -> str:
    """`reason`, `limit`: of a `fork_storm`. A reason that is not known is shown with the limit alone."""
    if reason == "ring":
        return "more than its share of the kernel's ring, which was over half full"
    if reason == "uniqueness":
        return f"more than {number(limit)} new parent tasks and cgroups a second"
    return f"the limit is {number(limit)} a second"
