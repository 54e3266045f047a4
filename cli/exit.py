"""How a command ends: with its code and one sentence, quietly on Ctrl-C, quietly when its reader is gone.

Must not live here: what it does until then.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from cli.client.errors import OK, ReaderGone, Trouble

__all__ = ["ended"]


def ended(name: str, work: Callable[[], Coroutine[Any, Any, int]]) -> int:
    """Does `work`; gives the exit code. Ctrl-C ends the process at once, as if nobody had thought of it, since nothing here
    has to be put away: a traceback is no answer, and a blocked output would hold up anything that waits for the loop."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        return asyncio.run(work())
    except ReaderGone:
        with suppress(OSError, AttributeError, ValueError):  # what is still in the buffer shall go nowhere, without a word
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except Trouble as trouble:
        with suppress(OSError, AttributeError, ValueError):
            sys.stderr.write(f"forklore {name}: {trouble}\n")
        return trouble.code
