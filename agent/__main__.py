"""`forklore agent`: settings -> pipeline, and what came of it as an exit code.

0 left politely; 2 wrong arguments; 69 this kernel or machine can't do it; 70 a room burned; 77 not permitted; 78 wrong
settings (sysexits.h). Must not live here: any of the work.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from agent.attribution.cgroups import NoHierarchy
from agent.journal import JournalTaken
from agent.kernel.capture import CannotCapture, NotPermitted, PinsTaken
from agent.pipeline import run
from agent.settings import Settings, SettingsError, load

__all__ = ["main"]

_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8
OK, CANNOT, BURNED, NOT_PERMITTED, WRONG_SETTINGS = 0, 69, 70, 77, 78


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="forklore agent", description="Captures, names and ships every fork of this node.")
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings (YAML); FORKLORE_* variables go before it")
    parser.add_argument("--check", action="store_true", help="only check the settings")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        settings = load(options.config)
    except SettingsError as error:
        for line in error.lines:
            _say(f"settings: {line}")
        return WRONG_SETTINGS
    if options.check:
        _say("settings: all right")
        return OK
    _keep_the_heap_small()
    return asyncio.run(_run(settings))


async def _run(settings: Settings) -> int:
    stop = asyncio.Event()

    def leave() -> None:
        if stop.is_set():
            _say("left at once; the journal has what was taken over, the rest lies in the kernel's ring")
            os._exit(BURNED)  # the second one means it
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, leave)
    try:
        await run(settings, stop)
    except NotPermitted as error:
        return _fail(NOT_PERMITTED, str(error))
    except (CannotCapture, NoHierarchy, PinsTaken, JournalTaken) as error:
        return _fail(CANNOT, str(error))
    except OSError as error:
        return _fail(CANNOT, str(error))
    except BaseExceptionGroup as group:
        for leaf in _leaves(group):
            logging.getLogger("agent").error("a room burned", exc_info=leaf)
        return _fail(BURNED, f"a room burned, so the house closes: {_leaves(group)[0]!r}")
    return OK


def _keep_the_heap_small() -> None:
    """One arena for all threads, and blocks of a batch's size go back to the kernel when they are freed: a fifth of the agent's
    memory would else be what glibc keeps for later. Source: mallopt(3). Another libc has no such call, and needs none."""
    with contextlib.suppress(AttributeError, OSError):
        libc = ctypes.CDLL(None)
        for option, value in ((_M_ARENA_MAX, 1), (_M_MMAP_THRESHOLD, 256 << 10)):
            libc.mallopt(option, value)


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    return [
        leaf for error in group.exceptions for leaf in (_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    ]


def _fail(code: int, text: str) -> int:
    _say(text)
    return code


def _say(text: str) -> None:
    sys.stderr.write(f"forklore agent: {text}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
