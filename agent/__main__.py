"""`forklore agent`: loads the settings, runs the pipeline, and returns an exit code.

Exit codes (sysexits.h): 0 stopped by a signal; 2 wrong arguments; 69 this kernel or machine can't capture; 70 unhandled error;
77 not permitted; 78 wrong settings.
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

from agent.attribution.hierarchy import NoHierarchy
from agent.journal import JournalTaken
from agent.kernel.capture import CannotCapture, NotPermitted, PinsTaken
from agent.lifecycle.run import run
from agent.settings import Settings, SettingsError, load
from wire.http.certificate import CertificateError

__all__ = ["main"]

_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8
OK, UNAVAILABLE, UNHANDLED, NOT_PERMITTED, WRONG_SETTINGS = 0, 69, 70, 77, 78


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="forklore agent", description="Captures, names and ships every fork of this node.")
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings (YAML); FORKLORE_* variables override it")
    parser.add_argument("--check", action="store_true", help="only check the settings")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        settings = load(options.config)
    except SettingsError as error:
        for line in error.lines:
            _print(f"settings: {line}")
        return WRONG_SETTINGS
    if options.check:
        _print("settings: ok")
        return OK
    _limit_heap()
    return asyncio.run(_run(settings))


async def _run(settings: Settings) -> int:
    stop = asyncio.Event()

    def request_stop() -> None:
        if stop.is_set():  # the second signal does not wait for the shutdown
            _print("exiting at once after a second signal; events that are not in the journal are still in the kernel's ring")
            os._exit(UNHANDLED)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, request_stop)
    try:
        await run(settings, stop)
    except NotPermitted as error:
        return _fail(NOT_PERMITTED, str(error))
    except (CannotCapture, NoHierarchy, PinsTaken, JournalTaken) as error:
        return _fail(UNAVAILABLE, str(error))
    except (CertificateError, OSError) as error:
        return _fail(UNAVAILABLE, str(error))
    except BaseExceptionGroup as group:
        for leaf in _leaves(group):
            logging.getLogger("agent").error("unhandled error", exc_info=leaf)
        return _fail(UNHANDLED, f"unhandled error, exiting: {_leaves(group)[0]!r}")
    return OK


def _limit_heap() -> None:
    """Limits what glibc keeps of freed memory, a fifth of the agent's memory by default: one arena for all threads, and blocks
    of a batch's size are returned to the kernel when they are freed. Source: mallopt(3). Other C libraries have no such
    call."""
    with contextlib.suppress(AttributeError, OSError):
        libc = ctypes.CDLL(None)
        for option, value in ((_M_ARENA_MAX, 1), (_M_MMAP_THRESHOLD, 256 << 10)):
            libc.mallopt(option, value)


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    return [
        leaf for error in group.exceptions for leaf in (_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    ]


def _fail(code: int, text: str) -> int:
    _print(text)
    return code


def _print(text: str) -> None:
    sys.stderr.write(f"forklore agent: {text}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
