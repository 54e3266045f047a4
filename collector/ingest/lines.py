"""A batch's bytes -> checked events. A bad line never sinks its batch: it is refused with its number and a reason.

Pure, and made to run in the store's writer thread: a batch of 5,000 takes some 0.1 s. Must not live here: HTTP, SQL, what a
kind looks like (`kinds`).
"""

from __future__ import annotations

import orjson

from collector.ingest.fields import Refused
from collector.ingest.kinds import check
from collector.model import CheckedLines

__all__ = ["TooManyLines", "checked_lines"]


class TooManyLines(Exception):
    """The batch has more lines than are taken at once."""


def checked_lines(body: bytes, max_line: int, max_lines: int) -> CheckedLines:
    """NDJSON, a line per event, the last newline being optional; `max_line` in bytes. Raises `TooManyLines`."""
    checked = CheckedLines(size=len(body))
    if body.endswith(b"\n"):
        body = body[:-1]
    elif not body:
        return checked
    if body.count(b"\n") >= max_lines:
        raise TooManyLines
    for number, line in enumerate(body.split(b"\n")):
        if len(line) > max_line:
            checked.refused.append((number, f"{len(line)} bytes, at most {max_line} are taken in a line"))
            continue
        if not line.strip():
            checked.refused.append((number, "an empty line"))
            continue
        try:
            check(orjson.loads(line), checked)
        except orjson.JSONDecodeError as wrong:
            checked.refused.append((number, f"not JSON: {wrong}"))
        except Refused as wrong:
            checked.refused.append((number, str(wrong)))
    return checked
