"""How much that is new each container may bring. Pure: the time is passed in.

A fork of a known task costs the agent a few microseconds. A new parent context or a new cgroup costs up to twenty times that,
and memory in every sink; so these are counted, and nothing has to be measured. A container above the limit is only counted by
the BPF programs for a while.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["UniquenessBudget"]

_WINDOW_NS: Final = 10 * 10**9  # over which the limit holds: builds and starts bring hundreds at once


class UniquenessBudget:
    """`limit`: new parent contexts and cgroups of one container in a second, on average over 10 s. 0: no limit.

    What a container has spent is one number: until when it is paid for at the limit's rate, ns of the boot clock.
    """

    def __init__(self, limit: int) -> None:
        self._cost_ns = 10**9 // limit if limit else 0
        self._spent: dict[int, int] = {}
        self._cleaned = 0

    def __len__(self) -> int:
        return len(self._spent)

    def spend(self, new: Mapping[int, int], now: int) -> list[int]:
        """`new`: by container, as it came since the last call; `now`: when the last fork of these was made.

        Returns the containers that exceed the limit, and begins anew for them: until they are sent again they bring nothing.
        """
        exceeding = []
        for container, count in new.items() if self._cost_ns else ():
            until = max(self._spent.get(container, 0), now) + count * self._cost_ns
            if until - now > _WINDOW_NS:
                exceeding.append(container)
                until = now
            self._spent[container] = until
        if now - self._cleaned > _WINDOW_NS:
            self._spent = {container: until for container, until in self._spent.items() if until > now}
            self._cleaned = now
        return exceeding
