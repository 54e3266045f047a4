"""The bytes of a batch -> checked events. A bad line does not fail its batch: it is refused with its number and a reason.

Pure. It runs in the store's writer thread: a batch of 5,000 lines takes some 0.1 s.
"""

from __future__ import annotations

from typing import Final

import orjson

from collector.ingest.fields import Refused
from collector.ingest.kinds import check
from collector.model import CheckedBatch

__all__ = ["MixedStreams", "TooManyLines", "check_lines"]

STREAMS: Final = 8  # of one batch; an agent's batches have one each, a relay may put a few together


class TooManyLines(Exception):
    """The batch has more lines than are accepted at once."""


class MixedStreams(Exception):
    """The batch has events of more streams than are accepted at once: each costs the store a query of its own."""


def check_lines(body: bytes, max_line: int, max_lines: int) -> CheckedBatch:
    """NDJSON, a line per event, the last newline being optional; `max_line` in bytes. Raises `TooManyLines`, `MixedStreams`."""
    checked = CheckedBatch(size=len(body))
    if body.endswith(b"\n"):
        body = body[:-1]
    elif not body:
        return checked
    if body.count(b"\n") >= max_lines:
        raise TooManyLines
    for number, line in enumerate(body.split(b"\n")):
        if len(line) > max_line:
            checked.refused_by["form"] += 1
            checked.refused.append((number, f"{len(line)} bytes, at most {max_line} are taken in a line"))
            continue
        if not line.strip():
            checked.refused_by["form"] += 1
            checked.refused.append((number, "an empty line"))
            continue
        try:
            check(orjson.loads(line), checked)
        except orjson.JSONDecodeError as error:
            checked.refused_by["form"] += 1
            checked.refused.append((number, f"not JSON: {error}"))
        except Refused as error:
            checked.refused_by[error.why] += 1
            checked.refused.append((number, str(error)))
    if len(checked.streams()) > STREAMS:
        raise MixedStreams
    return checked
