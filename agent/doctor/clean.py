"""`forklore doctor --clean`: takes away what is pinned when no agent has it, and says what goes with it.

Must not live here: how pins are found and read (leftovers).
"""

from __future__ import annotations

import sys
from pathlib import Path

from agent.doctor.checks.pinned_capture import clean as remove
from agent.doctor.checks.pinned_capture import in_words, read_pinned
from agent.kernel.pins import CannotPin, PinsTaken
from agent.sinks.printable import printable

__all__ = ["clean"]

_GONE, _NOT_GONE, _NOT_SURE = 0, 1, 2


def clean(folder: Path | None, *, yes: bool) -> int:
    """`yes`: without asking. The exit code."""
    if folder is None:
        return _said(_GONE, "capture.pin is null: nothing is ever pinned")
    try:
        pinned = read_pinned(folder, None, can_mount=False)
    except OSError as error:
        return _said(_NOT_GONE, f"{folder}: {error.strerror}")
    if pinned.holder:
        return _said(_NOT_GONE, f"an agent captures with the pins in {folder} ({pinned.holder}): end it first")
    if not (pinned.probes or pinned.dispatcher):
        return _said(_NOT_GONE if pinned.trouble else _GONE, f"nothing is pinned in {folder}", pinned.trouble)
    for probe in pinned.probes:
        _say(f"{folder}: {in_words(probe)}")
    _say("it goes for good, and what lies in its ring with it")
    if not yes:
        if not sys.stdin.isatty():
            return _said(_NOT_SURE, "nothing was removed: give --yes")
        sys.stdout.write("forklore doctor: remove it? [y/N] ")
        sys.stdout.flush()
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            return _said(_NOT_GONE, "nothing was removed")
    try:
        groups = remove(folder)
    except (PinsTaken, CannotPin) as error:
        return _said(_NOT_GONE, str(error))
    except OSError as error:
        return _said(_NOT_GONE, f"{error.filename or folder} can't be removed: {error.strerror}")
    return _said(_GONE, f"removed from {folder}: {', '.join(groups)}")


def _said(code: int, text: str, trouble: str | None = None) -> int:
    _say(f"{text} ({trouble})" if trouble else text)
    return code


def _say(text: str) -> None:
    sys.stdout.write(f"forklore doctor: {printable(text, 1000)}\n")
