"""One thing that was looked at, and what was found: fine, doubtful, wrong, or not looked at.

Must not live here: any one thing; how findings are shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Finding", "Verdict", "fail", "ok", "skipped", "warn"]


class Verdict(StrEnum):
    OK = "ok"
    WARN = "warn"  # the agent works, and could do better
    FAIL = "fail"  # something that was asked for does not work
    SKIPPED = "skipped"  # and why


@dataclass(frozen=True)
class Finding:
    """`text`, `cure`: one line each; the cure says what to do about a warning or a failure."""

    name: str
    verdict: Verdict
    text: str
    cure: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", " ".join(self.text.split()))  # others' words may have more lines


def ok(name: str, text: str) -> Finding:
    return Finding(name, Verdict.OK, text)


def warn(name: str, text: str, cure: str) -> Finding:
    return Finding(name, Verdict.WARN, text, cure)


def fail(name: str, text: str, cure: str) -> Finding:
    return Finding(name, Verdict.FAIL, text, cure)


def skipped(name: str, why: str) -> Finding:
    return Finding(name, Verdict.SKIPPED, why)
