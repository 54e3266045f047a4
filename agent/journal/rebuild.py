"""Copies what can still be read of a corrupt journal into the file that takes its place.

That file is written as a draft beside the journal, so that a kill at any step leaves a journal: the old one until all is done.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from agent.journal.batch_index import QueuedBatch
from agent.journal.directory import SUFFIXES, beside
from agent.journal.errors import Corrupt, Unavailable
from agent.journal.file import File
from agent.journal.rows import Changes, NewBatch

__all__ = ["adopt_draft", "copy_readable"]

_LONGEST_S: Final = 2.0  # nothing is committed in this time, and the kernel's ring holds for four seconds
_TRANSACTION_BYTES: Final = 1 << 20


def copy_readable(old: File, path: Path, wanted: Iterable[QueuedBatch]) -> set[int]:
    """Copies the bodies of these batches to the draft, in this order, while there is time; closes the old file.

    Returns the ids of those that were copied. Raises nothing: what cannot be read is not among them.
    """
    copied: set[int] = set()
    until = time.monotonic() + _LONGEST_S
    with suppress(Unavailable, Corrupt, OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _remove(_draft(path))
        draft = File(_draft(path))
        try:
            group: list[NewBatch] = []
            size = 0
            for entry in wanted:
                if time.monotonic() > until:
                    break
                with suppress(Unavailable, Corrupt):
                    if batch := old.read(entry.id):
                        group.append(NewBatch(entry.id, entry.position, entry.queue.sink, entry.forks, batch))
                        size += len(batch.body)
                if size >= _TRANSACTION_BYTES:
                    _write(draft, group, copied)
                    size = 0
            _write(draft, group, copied)
        finally:
            draft.close()
    old.close()
    return copied


def adopt_draft(path: Path) -> None:
    """Where there is no journal, the draft becomes it; where there is one, the draft was not completed. Raises Unavailable."""
    try:
        if path.exists():
            _remove(_draft(path))
            return
        for suffix in reversed(SUFFIXES):  # its own name last: then all of it is there
            if beside(_draft(path), suffix).exists():
                beside(_draft(path), suffix).rename(beside(path, suffix))
    except OSError as error:
        raise Unavailable(error.strerror) from error


def _write(draft: File, group: list[NewBatch], copied: set[int]) -> None:
    draft.write(Changes([], group, [], [], {}))
    draft.upkeep()
    copied.update(new.id for new in group)
    group.clear()


def _draft(path: Path) -> Path:
    return beside(path, ".new")


def _remove(path: Path) -> None:
    for suffix in SUFFIXES:
        beside(path, suffix).unlink(missing_ok=True)
