"""Findings on paper: aligned for people, JSON for programs. Pure.

Texts carry what others chose: a receiver's words, names of files, what a server said. Must not live here: judgement.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

import orjson

from agent.doctor.check_result import Finding, Verdict
from agent.sinks.printable import printable
from wire import VERSION

__all__ = ["as_json", "as_text"]

_MOST: Final = 500  # characters of a line
_COLOURS: Final = {Verdict.OK: "32", Verdict.WARN: "33", Verdict.FAIL: "1;31", Verdict.SKIPPED: "2"}  # SGR


def as_text(findings: Sequence[Finding], *, coloured: bool) -> str:
    names = [printable(finding.name, 60) for finding in findings]
    width = max(map(len, names), default=0)
    margin = len("skipped") + width + 4
    lines = []
    for finding, name in zip(findings, names, strict=True):
        verdict = f"{finding.verdict:<7}"
        shown = f"\x1b[{_COLOURS[finding.verdict]}m{verdict}\x1b[0m" if coloured else verdict
        lines.append(f"{shown}  {name:<{width}}  {printable(finding.text, _MOST)}")
        if finding.cure:
            lines.append(f"{'':<{margin - 3}}-> {printable(finding.cure, _MOST)}")
    counts = Counter(finding.verdict for finding in findings)
    lines.append(", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict))
    return "\n".join(lines) + "\n"


def as_json(findings: Sequence[Finding], node: str) -> bytes:
    told = [
        {"name": finding.name, "verdict": finding.verdict.value, "text": finding.text, "cure": finding.cure}
        for finding in findings
    ]
    counts = Counter(finding.verdict.value for finding in findings)
    said = {"version": VERSION, "node": node, **{verdict.value: counts[verdict.value] for verdict in Verdict}, "findings": told}
    return orjson.dumps(_sound(said), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _sound(value: object) -> object:
    """Text that can be written as UTF-8: names of files may not be."""
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, dict):
        return {key: _sound(inner) for key, inner in value.items()}
    return [_sound(inner) for inner in value] if isinstance(value, list) else value
