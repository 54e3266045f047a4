"""One row of a table of responses: what a receiver responds to a batch of six forks, and what the sink must do then."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from tests.faults import Close, Fault, FaultProxy, Forward, Garbage, Half, Reset, Say

from .sink_scene import SinkScene, open_sink

__all__ = ["ACCEPTED", "FORKS", "HOLD", "REJECTED", "RETRY", "SPLIT", "Row", "connection_rows", "named", "prove", "respond"]

FORKS = 6
RETRY, HOLD, SPLIT, REJECTED, ACCEPTED = "retry", "hold", "split", "rejected", "accepted"
_TRIES = {RETRY: 2, HOLD: 2, SPLIT: 3, REJECTED: 2, ACCEPTED: 1}  # a test event comes after what was rejected
_HOLD_S = (15.0, 30.0)  # the bounds of a pause while the settings are wrong


@dataclass(frozen=True)
class Row:
    """`lost`: forks by reason. `refused`: indices of those that never arrive; `twice`: of those that arrive twice, with the
    same id. `again`: a part of the batch is sent once more. `words`: in the state. `pause_s`: the shortest."""

    name: str
    fault: Fault
    result: str
    lost: Mapping[str, int] = field(default_factory=dict)
    refused: Iterable[int] = ()
    twice: Iterable[int] = ()
    again: bool = False
    words: str = ""
    pause_s: float = 0.0


def respond(status: int, body: object = b"", **headers: str) -> Say:
    """`body`: bytes, or any value to encode as JSON."""
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Say(status, {"Content-Type": "application/json", **named}, raw)


def named(rows: Iterable[Row]) -> dict[str, Any]:
    """For pytest.mark.parametrize."""
    rows = [*rows]
    assert len({row.name for row in rows}) == len(rows)
    return {"argnames": "row", "argvalues": rows, "ids": [row.name for row in rows]}


def connection_rows(*, once: bool) -> list[Row]:
    """Broken connections are retried with every protocol. `once`: the receiver stores duplicates once."""
    twice = () if once else range(FORKS)
    return [
        Row("connection reset before the body", Reset("head"), RETRY),
        Row("connection reset after the body", Reset("body"), RETRY),
        Row("connection reset after it was accepted", Reset("forwarded"), RETRY, twice=twice),
        Row("connection closed without a response", Close(), RETRY, words="without a response"),
        Row("half a response after it was accepted", Half(Forward()), RETRY, twice=twice),
        Row("something that is no HTTP", Garbage(), RETRY, words="not HTTP"),
    ]


async def prove(
    row: Row, receiver: tuple[str, int], arrived: Callable[[SinkScene], Counter[str]], folder: Path, path: str = "", **sink: Any
) -> None:
    """`arrived`: how often the receiver has each event of the scene's stream, after everything is written."""
    with FaultProxy(receiver) as proxy:
        proxy.play(row.fault)
        async with open_sink(folder, url=proxy.url(path), **sink) as here:
            ids = here.put(FORKS)
            await here.ship()
            all_rejected = row.result == ACCEPTED and row.lost.get("rejected") == FORKS
            assert len(proxy.requests) == (2 if row.again or all_rejected else _TRIES[row.result])
    assert here.lost == row.lost
    assert here.delivered == FORKS - sum(row.lost.values())
    assert here.balances()
    if row.result in (RETRY, HOLD):
        assert here.states[0].startswith(f"{row.result}: ")
        assert here.pauses[0][1] <= 1.0 if row.result == RETRY else here.pauses[0] == _HOLD_S
        assert row.words in here.states[0]
        assert proxy.requests[1].time - proxy.requests[0].time >= row.pause_s
    else:
        assert row.words in here.sender.state or row.words in "".join(here.states)
    refused, twice = {*row.refused}, {*row.twice}
    expected = {name: 1 + (place in twice) for place, name in enumerate(ids) if place not in refused}
    assert arrived(here) == expected
