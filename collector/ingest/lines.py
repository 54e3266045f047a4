"""The bytes of a batch -> checked events. A bad line does not fail its batch: it is refused with its number and a reason.

Pure. The work is done in slices, so that whoever runs it (`collector.ingest.checker`) can stop between two.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Final

import orjson

from collector.ingest.fields import Refused
from collector.ingest.kinds import check
from collector.model import CheckedBatch

__all__ = ["SLICE", "MixedStreams", "TooManyLines", "check_lines", "check_slices"]

STREAMS: Final = 8  # of one batch; an agent's batches have one each, a relay may put a few together
# What is done in one slice: bytes unpacked, and for each line as many as it costs beside its length. Some 50 to 100 ms. A batch
# of an agent has at most 4 MiB, so it is one slice.
SLICE: Final = 8 << 20
LINE_COST: Final = 1024


class TooManyLines(Exception):
    """The batch has more lines than are accepted at once."""


class MixedStreams(Exception):
    """The batch has events of more streams than are accepted at once: each costs the store a query of its own."""


def check_lines(body: bytes, max_line: int, max_lines: int) -> CheckedBatch:
    """`check_slices` of a body that is unpacked, to its end."""
    slices = check_slices([body], max_line, max_lines)
    while True:
        try:
            next(slices)
        except StopIteration as end:
            batch: CheckedBatch = end.value
            return batch


def check_slices(pieces: Iterable[bytes], max_line: int, max_lines: int) -> Generator[None, None, CheckedBatch]:
    """NDJSON, a line per event, the last newline being optional; `max_line` in bytes. Yields after each slice; returns the
    batch. Raises `TooManyLines`, `MixedStreams`, and what `pieces` raises."""
    checked, number, work = CheckedBatch(), 0, 0
    begun = _BegunLine(max_line)
    for piece in pieces:
        checked.size += len(piece)
        work += len(piece) + LINE_COST
        ends = piece.count(b"\n")
        if number + ends > max_lines:
            raise TooManyLines
        first, *others = piece.split(b"\n")
        begun.add(first)
        for other in others:  # each begins after the end of a line
            _check_line(number, begun, checked)
            number, work = number + 1, work + LINE_COST
            begun.start(other)
            if work >= SLICE:
                yield
                work = 0
        if work >= SLICE:
            yield
            work = 0
    if begun.length:
        if number >= max_lines:
            raise TooManyLines
        _check_line(number, begun, checked)
    if len(checked.streams()) > STREAMS:
        raise MixedStreams
    return checked


class _BegunLine:
    """A line whose end may be in a later piece. `text`: not kept when it is too long, so that many pieces without an end cost
    what they hold and no more."""

    __slots__ = ("length", "most", "text")

    def __init__(self, most: int) -> None:
        self.most = most
        self.text: bytes | bytearray = b""
        self.length = 0

    def start(self, part: bytes) -> None:
        self.text, self.length = part, len(part)

    def add(self, part: bytes) -> None:
        self.length += len(part)
        if self.length > self.most:
            self.text = b""
        elif self.text:
            self.text = bytearray(self.text) if isinstance(self.text, bytes) else self.text
            self.text += part
        else:
            self.text = part


def _check_line(number: int, line: _BegunLine, checked: CheckedBatch) -> None:
    if line.length > line.most:
        checked.refused_by["form"] += 1
        checked.refused.append((number, f"{line.length} bytes, at most {line.most} are taken in a line"))
    elif not line.text.strip():
        checked.refused_by["form"] += 1
        checked.refused.append((number, "an empty line"))
    else:
        try:
            check(orjson.loads(line.text), checked)
            if len(checked.forks) > len(checked.fork_lines):
                checked.fork_lines.append(number)
        except orjson.JSONDecodeError as error:
            checked.refused_by["form"] += 1
            checked.refused.append((number, f"not JSON: {error}"))
        except Refused as error:
            checked.refused_by[error.why] += 1
            checked.refused.append((number, str(error)))
