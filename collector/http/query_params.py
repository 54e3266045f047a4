"""The one parser of query parameters: checked text becomes values of `collector.model`.

Pure; "now" is an argument. A wrong parameter raises `InvalidParameter`, whose text names it and says what would be right.
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
    "FORK_PARAMETERS",
    "POD_PARAMETERS",
    "InvalidParameter",
    "Query",
    "allow_only",
    "format_cursor",
    "parse_choice",
    "parse_cursor",
    "parse_duration",
    "parse_fork_query",
    "parse_integer",
    "parse_last_event_id",
    "parse_pod_filter",
    "parse_span",
]

POD_PARAMETERS: Final = ("cluster", "namespace", "workload", "node", "pod", "pod_uid", "label", "text")
FORK_PARAMETERS: Final = ("comm", "parent_comm", "kind", "pid", "entity")
KINDS: Final = ("process", "thread")
MAX_LABELS: Final = 16  # in one query
MAX_TEXT: Final = 317  # characters: Kubernetes' limit for the longest of its names, a label's key
MAX_TIME: Final = 2**63 - 2  # ns: the year 2262, the end of a signed 64-bit integer
_MAX_PID: Final = 2**31 - 1
_MOMENT: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)", re.ASCII)
_ENTITY: Final = re.compile(r"[0-9a-f]{16}")


class InvalidParameter(Exception):
    """A query that cannot be answered; its text names the parameter and says what would be right."""


class Query(Protocol):
    """Names and values, as in `aiohttp`'s multidict: a name may occur several times."""

    def keys(self) -> Collection[str]: ...
    def getall(self, key: str, default: list[str]) -> list[str]: ...


def allow_only(query: Query, known: Collection[str]) -> None:
    """Raises `InvalidParameter` for a parameter that is not known, and for one that occurs twice (`label` may)."""
    for name in query.keys():  # noqa: SIM118  a multidict's keys, not its items
        if name not in known:
            raise InvalidParameter(f"{quoted(name)} is no parameter here; there are {', '.join(known) or 'none'}")
        if name != "label" and len(query.getall(name, [])) > 1:
            raise InvalidParameter(f"{name} is given twice: give it once")


def parse_pod_filter(query: Query) -> Filter:
    labels = []
    for label in query.getall("label", []):
        key, equals, value = label.partition("=")
        if not key or not equals or len(label) > 2 * MAX_TEXT or not _is_valid_text(label):
            raise InvalidParameter(f"label: {quoted(label)} is not a key and a value, such as label=app=cart")
        labels.append((key, value))
    if len(labels) > MAX_LABELS:
        raise InvalidParameter(f"label: {len(labels)} of them; at most {MAX_LABELS} are taken")
    fields = {name: _parse_text(query, name) for name in POD_PARAMETERS if name != "label"}
    return Filter(**fields, labels=tuple(labels))


def parse_fork_query(query: Query, now: int, default_start: str) -> ForkQuery:
    """`now` in ns; `default_start`: `from` where it is not given, such as `-1h`."""
    entity = _parse_text(query, "entity")
    if entity and not _ENTITY.fullmatch(entity):
        raise InvalidParameter(f"entity: {quoted(entity)} is not 16 hex digits in lower case, such as 44745a63f5162050")
    return ForkQuery(
        parse_pod_filter(query),
        parse_span(query, now, default_start),
        comm=_parse_text(query, "comm"),
        parent_comm=_parse_text(query, "parent_comm"),
        kind=parse_choice(query, "kind", KINDS, ""),
        pid=parse_integer(query, "pid", 0, 1, _MAX_PID) or None,
        entity=entity,
    )


def parse_span(query: Query, now: int, default_start: str) -> Span:
    """`from` and `to`; without `to` it ends now."""
    start, end = _parse_moment(query, "from", default_start, now), _parse_moment(query, "to", "now", now)
    if start >= end:
        raise InvalidParameter("from: is not before to; right would be from=-1h&to=now")
    return Span(start, end)


def parse_choice(query: Query, name: str, choices: Collection[str], default: str) -> str:
    value = _last_value(query, name)
    if value is None:
        return default
    if value not in choices:
        raise InvalidParameter(f"{name}: {quoted(value)} is none of {', '.join(choices)}")
    return value


def parse_integer(query: Query, name: str, default: int, least: int, most: int) -> int:
    value = _last_value(query, name)
    if value is None:
        return default
    if not (value.isascii() and value.isdigit() and len(value) < 20 and least <= int(value) <= most):
        raise InvalidParameter(f"{name}: {quoted(value)} is not a whole number from {least} to {most}")
    return int(value)


def parse_duration(query: Query, name: str, default: int) -> int:
    """ns."""
    value = _last_value(query, name)
    if value is None:
        return default
    duration = units.nanoseconds(value)
    if not duration:
        raise InvalidParameter(f"{name}: {quoted(value)} is not a length of time such as 10s, 5m, 1h")
    return duration


def parse_cursor(query: Query) -> Place | None:
    """`after`: a cursor out of an earlier answer."""
    value = _last_value(query, "after")
    if value is None:
        return None
    time, dot, fork_id = value.partition(".")
    try:
        if not dot or not (time.isascii() and time.isdigit() and len(time) < 20 and int(time) <= MAX_TIME):
            raise ValueError(value)
        fork = parse_fork_id(fork_id)
    except ValueError:
        raise InvalidParameter(f'after: {quoted(value)} is no cursor; take it as it stands in "next" of an answer') from None
    return Place(int(time), fork.stream, fork.cpu, fork.sequence)


def format_cursor(place: Place) -> str:
    """What `parse_cursor` reads: the fork's time and its id."""
    return f"{place.time}.{place.stream}.{place.cpu}.{place.sequence}"


def parse_last_event_id(header: str, now: int) -> int:
    """The header `Last-Event-ID` of a client that reconnects, as ns; `now` without one."""
    if not header:
        return now
    if not (header.isascii() and header.isdigit() and len(header) < 20):
        raise InvalidParameter("Last-Event-ID: is not the id of an event of this stream")
    return min(int(header), now)


def _parse_moment(query: Query, name: str, default: str, now: int) -> int:
    value = _last_value(query, name)
    text = default if value is None else value
    if text == "now":
        return now
    if (duration := units.nanoseconds(text.removeprefix("now").removeprefix("-"))) is not None:
        if text.startswith(("-", "now-")):
            return max(0, now - duration)
    elif found := _MOMENT.fullmatch(text):
        try:
            seconds = int(datetime.fromisoformat(found[1] + found[3].replace("Z", "+00:00")).timestamp())
        except (ValueError, OverflowError):
            seconds = -1
        if 0 <= (time := seconds * 10**9 + int((found[2] or "").ljust(9, "0"))) <= MAX_TIME:
            return time
    hint = " (in an address, a plus is written %2B)" if " " in text else ""
    raise InvalidParameter(f"{name}: {quoted(text)} is no time; right would be now, -15m, or 2026-11-22T19:48:30Z{hint}")


def _parse_text(query: Query, name: str) -> str:
    value = _last_value(query, name) or ""
    if len(value) > MAX_TEXT or not _is_valid_text(value):
        raise InvalidParameter(f"{name}: {quoted(value)} is not text of at most {MAX_TEXT} characters")
    return value


def _is_valid_text(value: str) -> bool:
    """No NUL, which no name contains, and no lone surrogates, which no store accepts."""
    return "\0" not in value and not any("\ud800" <= letter <= "\udfff" for letter in value)


def _last_value(query: Query, name: str) -> str | None:
    values = query.getall(name, [])
    return values[-1] if values else None
