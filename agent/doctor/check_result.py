"""The result of one check."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["CheckResult", "Verdict", "fail", "ok", "skipped", "warn"]


class Verdict(StrEnum):
    OK = "ok"
    WARN = "warn"  # the agent works, with a limitation
    FAIL = "fail"  # something that the settings ask for does not work
    SKIPPED = "skipped"  # could not be checked, or need not be


@dataclass(frozen=True)
class CheckResult:
    """`text`, `cure`: one line each. A warning or a failure has a cure: what to do about it."""

    name: str
    verdict: Verdict
    text: str
    cure: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", " ".join(self.text.split()))  # text of others may have several lines


def ok(name: str, text: str) -> CheckResult:
    return CheckResult(name, Verdict.OK, text)


def warn(name: str, text: str, cure: str) -> CheckResult:
    return CheckResult(name, Verdict.WARN, text, cure)


def fail(name: str, text: str, cure: str) -> CheckResult:
    return CheckResult(name, Verdict.FAIL, text, cure)


def skipped(name: str, why: str) -> CheckResult:
    return CheckResult(name, Verdict.SKIPPED, why)
