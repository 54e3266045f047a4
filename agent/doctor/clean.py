"""`forklore doctor --clean`: removes what is pinned, if no agent uses it."""

from __future__ import annotations

import sys
from pathlib import Path

from agent.doctor.checks.pinned_capture import describe, read_pinned, remove_pinned
from agent.kernel.pins import CannotPin, PinsTaken
from agent.sinks.printable import printable

__all__ = ["clean"]

_REMOVED, _NOT_REMOVED, _NOT_CONFIRMED = 0, 1, 2  # exit codes


def clean(folder: Path | None, *, yes: bool) -> int:
    """`yes`: does not ask. Returns the exit code."""
    if folder is None:
        return _exit(_REMOVED, "capture.pin is null: nothing is ever pinned")
    try:
        pinned = read_pinned(folder, None, can_mount=False)
    except OSError as error:
        return _exit(_NOT_REMOVED, f"{folder}: {error.strerror}")
    if pinned.lock_owner:
        return _exit(_NOT_REMOVED, f"an agent captures with the pins in {folder} ({pinned.lock_owner}): stop it first")
    if not (pinned.instances or pinned.dispatcher):
        return _exit(_NOT_REMOVED if pinned.error else _REMOVED, f"nothing is pinned in {folder}", pinned.error)
    for instance in pinned.instances:
        _print(f"{folder}: {describe(instance)}")
    _print("removing it also removes the forks in its ring, for good")
    if not yes:
        if not sys.stdin.isatty():
            return _exit(_NOT_CONFIRMED, "nothing was removed: confirm with --yes")
        sys.stdout.write("forklore doctor: remove it? [y/N] ")
        sys.stdout.flush()
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            return _exit(_NOT_REMOVED, "nothing was removed")
    try:
        groups = remove_pinned(folder)
    except (PinsTaken, CannotPin) as error:
        return _exit(_NOT_REMOVED, str(error))
    except OSError as error:
        return _exit(_NOT_REMOVED, f"{error.filename or folder} can't be removed: {error.strerror}")
    return _exit(_REMOVED, f"removed from {folder}: {', '.join(groups)}")


def _exit(code: int, text: str, error: str | None = None) -> int:
    _print(f"{text} ({error})" if error else text)
    return code


def _print(text: str) -> None:
    sys.stdout.write(f"forklore doctor: {printable(text, 1000)}\n")
