"""Progress on standard error for what takes over a second.

On a terminal it is one line that is updated, and cleared at the end; elsewhere it is one line, printed once.
"""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import suppress
from types import TracebackType
from typing import Final, TextIO

__all__ = ["Progress"]

DELAY: Final = 1.0  # seconds before anything is printed
_STEP: Final = 0.25  # seconds between two updates
_CLEAR: Final = "\r\x1b[K"


class Progress:
    """`async with Progress("asking ...") as progress:`; `text` and `detail` may be changed meanwhile."""

    def __init__(self, text: str, stream: TextIO | None = None) -> None:
        self.text, self.detail = text, ""
        self._stream = stream or sys.stderr
        self._shown = False

    async def __aenter__(self) -> Progress:
        self._task = asyncio.create_task(self._show(), name="progress")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        if self._shown:
            self._write(_CLEAR)

    async def _show(self) -> None:
        started = time.monotonic()
        await asyncio.sleep(DELAY)
        if self._stream is None or not self._stream.isatty():
            self._write(f"{self.text} ...\n")
            return
        self._shown = True
        while True:
            detail = f", {self.detail}" if self.detail else ""
            self._write(f"{_CLEAR}{self.text} ... {time.monotonic() - started:.0f} s{detail}")
            await asyncio.sleep(_STEP)

    def _write(self, text: str) -> None:
        with suppress(OSError, AttributeError, ValueError):  # standard error is closed; the work goes on
            self._stream.write(text)
            self._stream.flush()
