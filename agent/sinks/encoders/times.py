"""Times as text, made fast. Must not live here: clocks."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from agent.sinks.encoders.fragments import Fragments

__all__ = ["Rfc3339"]

_LAST: Final = 253402300799  # 9999-12-31T23:59:59Z


class Rfc3339:
    """Nanoseconds since 1970 -> RFC 3339, UTC. Forks come in bursts: the second's text is made once a second."""

    def __init__(self) -> None:
        self._seconds: Fragments[int, str] = Fragments(_second, 4096)

    def __call__(self, ns: int) -> str:
        second, rest = divmod(ns, 1_000_000_000)
        return f"{self._seconds[second]}.{rest:09d}Z"


def _second(second: int) -> str:
    # A clock that was set to nonsense gives the nearest time that has a name, not an exception in the middle of a batch.
    moment = datetime.fromtimestamp(min(max(second, 0), _LAST), UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0")
