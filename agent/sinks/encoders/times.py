"""Times as text, made fast."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from agent.sinks.encoders.fragments import NumberCache

__all__ = ["Rfc3339"]

_LAST: Final = 253402300799  # 9999-12-31T23:59:59Z


class Rfc3339:
    """Nanoseconds since 1970 -> RFC 3339 in UTC. Forks come in bursts, so the text of a second is made once."""

    def __init__(self) -> None:
        self._seconds: NumberCache[int, str] = NumberCache(_second, 4096)

    def __call__(self, ns: int) -> str:
        second, rest = divmod(ns, 1_000_000_000)
        return f"{self._seconds[second]}.{rest:09d}Z"


def _second(second: int) -> str:
    # Out of range, as after a wrong clock setting: the nearest valid time, and no exception in the middle of a batch.
    moment = datetime.fromtimestamp(min(max(second, 0), _LAST), UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0")
