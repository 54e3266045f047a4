"""Checks of single values: each takes a value out of JSON and its name, and gives the value back or raises `Refused`. Pure."""

from __future__ import annotations

import calendar
import re
from typing import Any, Final

from collector.http.quoting import quoted

__all__ = [
    "MAX_AMOUNT",
    "MAX_COUNT",
    "ImpossibleCount",
    "ImpossibleTime",
    "Refused",
    "amount",
    "array",
    "count",
    "mapping",
    "maybe_count",
    "maybe_nanoseconds",
    "maybe_text",
    "nanoseconds",
    "one_of",
    "text",
]

# The store counts in 64 bits with a sign. One below the end, so that the number after it is one of them, too.
MAX_COUNT: Final = 2**63 - 2
# Tasks: 53 bits, so that sums of them fit in 64 and every reader of JSON keeps each digit.
MAX_AMOUNT: Final = 2**53 - 1
_TIME: Final = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?Z", re.ASCII)
_DAYS: Final = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
# The seconds of a batch's timestamps repeat by the thousand. Emptied when full, so a hostile sender cannot make it grow.
_SECONDS: dict[str, int] = {}
_SECONDS_MOST: Final = 20_000


class Refused(Exception):
    """A line is not accepted; the text is the reason that goes into the receipt. `why`: for the metric."""

    why = "form"


class ImpossibleTime(Refused):
    """No event can have it."""

    why = "time"


class ImpossibleCount(Refused):
    """No kernel reaches it."""

    why = "count"


def count(value: object, name: str) -> int:
    """A whole number from 0 to `MAX_COUNT`. True and 1.0 are refused."""
    if type(value) is int and 0 <= value <= MAX_COUNT:
        return value
    raise Refused(f"{name}: {quoted(value)} is not a whole number from 0 to {MAX_COUNT}")


def amount(value: object, name: str, most: int = MAX_AMOUNT) -> int:
    """A number of tasks, from 0 to `most`, which is what a kernel can reach."""
    if type(value) is int and 0 <= value <= most:
        return value
    if type(value) is int and value > most:
        raise ImpossibleCount(f"{name}: {value} is more than any kernel reaches: at most {most} by then")
    raise Refused(f"{name}: {quoted(value)} is not a whole number from 0 to {MAX_AMOUNT}")


def maybe_count(value: object, name: str) -> int | None:
    return None if value is None else count(value, name)


def text(value: object, name: str, most: int, *, empty: bool = True) -> str:
    """At most `most` characters, no NUL: it ends a string for C and for many a reader."""
    if type(value) is not str:
        raise Refused(f"{name}: {quoted(value)} is not text")
    if len(value) > most:
        raise Refused(f"{name}: {len(value)} characters, at most {most} are taken")
    if "\0" in value:
        raise Refused(f"{name}: {quoted(value)} holds a NUL")
    if not value and not empty:
        raise Refused(f"{name}: is empty")
    return value


def maybe_text(value: object, name: str, most: int, *, empty: bool = True) -> str | None:
    return None if value is None else text(value, name, most, empty=empty)


def one_of(value: object, name: str, choices: tuple[str, ...]) -> str:
    if type(value) is str and value in choices:
        return value
    raise Refused(f"{name}: {quoted(value)} is none of {', '.join(choices)}")


def mapping(value: object, name: str, most: int) -> dict[str, Any]:
    if type(value) is not dict:
        raise Refused(f"{name}: {quoted(value)} is not an object")
    if len(value) > most:
        raise Refused(f"{name}: {len(value)} keys, at most {most} are taken")
    return value


def array(value: object, name: str, most: int) -> list[Any]:
    if type(value) is not list:
        raise Refused(f"{name}: {quoted(value)} is not an array")
    if len(value) > most:
        raise Refused(f"{name}: {len(value)} items, at most {most} are taken")
    return value


def nanoseconds(value: object, name: str) -> int:
    """RFC 3339 in UTC, with up to nine digits after the second, as nanoseconds since 1970. Years 1970 to 2261."""
    if type(value) is not str or len(value) > 30 or value[-1:] != "Z":
        raise Refused(f"{name}: {quoted(value)} is not a time such as 2026-11-22T19:48:30.118291004Z")
    second = _SECONDS.get(value[:19])
    fraction = value[20:-1]
    if second is not None and value[19] == "." and fraction.isascii() and fraction.isdigit():
        return second * 1_000_000_000 + int(fraction if len(fraction) == 9 else fraction.ljust(9, "0"))
    found = _TIME.fullmatch(value)
    if not found:
        raise Refused(f"{name}: {quoted(value)} is not a time such as 2026-11-22T19:48:30.118291004Z")
    year, month, day, hour, minute, sec = (int(part) for part in found.groups()[:6])
    real = 1970 <= year <= 2261 and 1 <= month <= 12 and 1 <= day <= _DAYS[month - 1] and hour < 24 and minute < 60 and sec < 60
    if not real or (month == 2 and day == 29 and not calendar.isleap(year)):
        raise Refused(f"{name}: {quoted(value)} is on no calendar between 1970 and 2261")
    if len(_SECONDS) >= _SECONDS_MOST:
        _SECONDS.clear()
    second = _SECONDS[value[:19]] = calendar.timegm((year, month, day, hour, minute, sec))
    return second * 1_000_000_000 + int((found[7] or "").ljust(9, "0"))


def maybe_nanoseconds(value: object, name: str) -> int | None:
    return None if value is None else nanoseconds(value, name)
