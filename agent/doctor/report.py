"""Check results as text for people and as JSON for programs. Pure.

Texts may contain what others chose (a receiver's answer, names of files), so they are made printable.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

import orjson

from agent.doctor.check_result import CheckResult, Verdict
from agent.sinks.printable import printable
from wire import VERSION

__all__ = ["as_json", "as_text"]

_MAX_LINE: Final = 500  # characters
_COLOURS: Final = {Verdict.OK: "32", Verdict.WARN: "33", Verdict.FAIL: "1;31", Verdict.SKIPPED: "2"}  # SGR


def as_text(results: Sequence[CheckResult], *, coloured: bool) -> str:
    names = [printable(result.name, 60) for result in results]
    width = max(map(len, names), default=0)
    margin = len("skipped") + width + 4
    lines = []
    for result, name in zip(results, names, strict=True):
        verdict = f"{result.verdict:<7}"
        shown = f"\x1b[{_COLOURS[result.verdict]}m{verdict}\x1b[0m" if coloured else verdict
        lines.append(f"{shown}  {name:<{width}}  {printable(result.text, _MAX_LINE)}")
        if result.cure:
            lines.append(f"{'':<{margin - 3}}-> {printable(result.cure, _MAX_LINE)}")
    counts = Counter(result.verdict for result in results)
    lines.append(", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict))
    return "\n".join(lines) + "\n"


def as_json(results: Sequence[CheckResult], node: str) -> bytes:
    rows = [
        {"name": result.name, "verdict": result.verdict.value, "text": result.text, "cure": result.cure} for result in results
    ]
    counts = Counter(result.verdict.value for result in results)
    report = {
        "version": VERSION,
        "node": node,
        **{verdict.value: counts[verdict.value] for verdict in Verdict},
        "findings": rows,
    }
    return orjson.dumps(_encodable(report), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _encodable(value: object) -> object:
    """The value with text that can be written as UTF-8: names of files may not be."""
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, dict):
        return {key: _encodable(inner) for key, inner in value.items()}
    return [_encodable(inner) for inner in value] if isinstance(value, list) else value
