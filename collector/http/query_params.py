"""What a reader asks: a query's words, checked, as the nouns of the store. A wrong one is told by name, with what is right.

Pure; "now" is an argument. Must not live here: HTTP, and what is answered.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import datetime
from typing import Final, Protocol

from collector.http.quoting import quoted
from collector.model import Filter, ForkQuery, Place, Span
from wire import units
from wire.ids import parse_fork_id

__all__ = [
    "FILTERS",
    "FORKS",
    "InvalidParameter",
    "Query",
    "allow_only",
    "choice",
    "cursor",
    "duration",
    "fork_query",
    "place",
    "pod_filter",
    "span",
    "whole",
]

FILTERS: Final = ("cluster", "namespace", "workload", "node", "pod", "pod_uid", "label", "text")
FORKS: Final = ("comm", "parent_comm", "kind", "pid", "entity")
KINDS: Final = ("process", "thread")
LABELS: Final = 16  # in one question
NAME: Final = 317  # characters, as Kubernetes allows in the longest of names, a label's key
LAST: Final = 2**63 - 2  # ns: 2262, the end of what 64 bits can say
_PID: Final = 2**31 - 1
_MOMENT: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)", re.ASCII)
_ENTITY: Final = re.compile(r"[0-9a-f]{16}")


class InvalidParameter(Exception):
    """A question that cannot be answered; its text names the parameter and says what would be right."""


class Query(Protocol):
    """As `aiohttp`'s: a name may come several times."""

    def keys(self) -> Collection[str]: ...
    def getall(self, key: str, default: list[str]) -> list[str]: ...


def allow_only(query: Query, known: Collection[str]) -> None:
    """Raises `InvalidParameter` of any other parameter, and of one that is given twice and can't be."""
    for name in query.keys():  # noqa: SIM118  a multidict's keys, not its items
        if name not in known:
            raise InvalidParameter(f"{quoted(name)} is no parameter here; there are {', '.join(known) or 'none'}")
        if name != "label" and len(query.getall(name, [])) > 1:
            raise InvalidParameter(f"{name} is given twice: give it once")


def pod_filter(query: Query) -> Filter:
    labels = []
    for said in query.getall("label", []):
        key, equals, value = said.partition("=")
        if not key or not equals or len(said) > 2 * NAME or not _is_text(said):
            raise InvalidParameter(f"label: {quoted(said)} is not a key and a value, such as label=app=cart")
        labels.append((key, value))
    if len(labels) > LABELS:
        raise InvalidParameter(f"label: {len(labels)} of them; at most {LABELS} are taken")
    words = {name: _text(query, name) for name in FILTERS if name != "label"}
    return Filter(**words, labels=tuple(labels))


def fork_query(query: Query, now: int, usual: str) -> ForkQuery:
    """`now` in ns; `usual`: where the span begins when nothing is said, as in `-1h`."""
    entity = _text(query, "entity")
    if entity and not _ENTITY.fullmatch(entity):
        raise InvalidParameter(f"entity: {quoted(entity)} is not 16 hex digits in lower case, such as 44745a63f5162050")
    pid = whole(query, "pid", 0, 1, _PID) or None
    words = {name: _text(query, name) for name in ("comm", "parent_comm")}
    return ForkQuery(
        pod_filter(query), span(query, now, usual), **words, kind=choice(query, "kind", KINDS, ""), pid=pid, entity=entity
    )


def span(query: Query, now: int, usual: str) -> Span:
    """`from` and `to`, which is now when nothing is said."""
    start, end = _moment(query, "from", usual, now), _moment(query, "to", "now", now)
    if start >= end:
        raise InvalidParameter("from: is not before to; right would be from=-1h&to=now")
    return Span(start, end)


def choice(query: Query, name: str, choices: Collection[str], usual: str) -> str:
    said = _one(query, name)
    if said is None:
        return usual
    if said not in choices:
        raise InvalidParameter(f"{name}: {quoted(said)} is none of {', '.join(choices)}")
    return said


def whole(query: Query, name: str, usual: int, least: int, most: int) -> int:
    said = _one(query, name)
    if said is None:
        return usual
    if not (said.isascii() and said.isdigit() and len(said) < 20 and least <= int(said) <= most):
        raise InvalidParameter(f"{name}: {quoted(said)} is not a whole number from {least} to {most}")
    return int(said)


def duration(query: Query, name: str, usual: int) -> int:
    """ns."""
    said = _one(query, name)
    if said is None:
        return usual
    length = units.nanoseconds(said)
    if not length:
        raise InvalidParameter(f"{name}: {quoted(said)} is not a length of time such as 10s, 5m, 1h")
    return length


def place(query: Query) -> Place | None:
    """`after`: a cursor that an answer gave."""
    said = _one(query, "after")
    if said is None:
        return None
    time, dot, rest = said.partition(".")
    try:
        if not dot or not (time.isascii() and time.isdigit() and len(time) < 20 and int(time) <= LAST):
            raise ValueError(said)
        fork = parse_fork_id(rest)
    except ValueError:
        raise InvalidParameter(f'after: {quoted(said)} is no cursor; take it as it stands in "next" of an answer') from None
    return Place(int(time), fork.stream, fork.cpu, fork.sequence)


def cursor(at: Place) -> str:
    """What `place` reads: the fork's time and its id."""
    return f"{at.time}.{at.stream}.{at.cpu}.{at.sequence}"


def _moment(query: Query, name: str, usual: str, now: int) -> int:
    said = _one(query, name)
    text = usual if said is None else said
    if text == "now":
        return now
    if (length := units.nanoseconds(text.removeprefix("now").removeprefix("-"))) is not None:
        if text.startswith(("-", "now-")):
            return max(0, now - length)
    elif found := _MOMENT.fullmatch(text):
        try:
            seconds = int(datetime.fromisoformat(found[1] + found[3].replace("Z", "+00:00")).timestamp())
        except (ValueError, OverflowError):
            seconds = -1
        if 0 <= (time := seconds * 10**9 + int((found[2] or "").ljust(9, "0"))) <= LAST:
            return time
    hint = " (in an address, a plus is written %2B)" if " " in text else ""
    raise InvalidParameter(f"{name}: {quoted(text)} is no time; right would be now, -15m, or 2026-11-22T19:48:30Z{hint}")


def _text(query: Query, name: str) -> str:
    said = _one(query, name) or ""
    if len(said) > NAME or not _is_text(said):
        raise InvalidParameter(f"{name}: {quoted(said)} is not text of at most {NAME} characters")
    return said


def _is_text(said: str) -> bool:
    """No NUL, which no name has, and nothing that is no character, which no store takes."""
    return "\0" not in said and not any("\ud800" <= letter <= "\udfff" for letter in said)


def _one(query: Query, name: str) -> str | None:
    said = query.getall(name, [])
    return said[-1] if said else None
