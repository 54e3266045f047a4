"""A result that many requests share, so that their number does not decide what it costs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

__all__ = ["SharedResult"]

_T = TypeVar("_T")


class SharedResult(Generic[_T]):
    """Calls `compute` once for all who wait, and keeps its result for `seconds`. An error is not kept."""

    def __init__(
        self, compute: Callable[[], Awaitable[_T]], seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._compute, self._seconds, self._clock = compute, seconds, clock
        self._task: asyncio.Task[_T] | None = None  # the last one
        self._until = 0.0  # its result is current before this moment, once it is done

    async def get(self) -> _T:
        """Raises what `compute` raises."""
        if self._task is None or (self._task.done() and self._clock() >= self._until):
            self._task = asyncio.create_task(self._run(), name="shared result")
        return await asyncio.shield(self._task)  # a request that is cancelled must not cancel it for the others

    async def _run(self) -> _T:
        self._until = 0.0
        result = await self._compute()
        self._until = self._clock() + self._seconds
        return result
