"""Runs functions later, one after the other, in the order in which they are due."""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable

__all__ = ["Later"]


class Later:
    """In a thread of its own. What is not due at `stop` does not run."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._changed = threading.Condition()
        self._count = 0
        self._stopped = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify()
        self._thread.join()

    def run(self, seconds: float, function: Callable[[], None]) -> None:
        with self._changed:
            self._count += 1
            heapq.heappush(self._due, (time.monotonic() + seconds, self._count, function))
            self._changed.notify()

    def _run(self) -> None:
        while function := self._next():
            function()

    def _next(self) -> Callable[[], None] | None:
        """Waits until one is due; None at the end."""
        with self._changed:
            while not self._stopped:
                left = self._due[0][0] - time.monotonic() if self._due else None
                if left is not None and left <= 0:
                    return heapq.heappop(self._due)[2]
                self._changed.wait(left)
            return None
