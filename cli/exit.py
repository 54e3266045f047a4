"""Runs a command, and turns its errors into a line on standard error and an exit code."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from cli.client.errors import OK, CommandError, ReaderGone

__all__ = ["run_command"]


def run_command(name: str, work: Callable[[], Coroutine[Any, Any, int]]) -> int:
    """Runs `work`; returns the exit code. Ctrl-C ends the process at once by the signal's default action: there is nothing to
    clean up, and a handler in the loop would wait while the output is blocked."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        return asyncio.run(work())
    except ReaderGone:
        with suppress(OSError, AttributeError, ValueError):  # discard what is still in the buffer
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except CommandError as error:
        with suppress(OSError, AttributeError, ValueError):
            sys.stderr.write(f"forklore {name}: {error}\n")
        return error.code
