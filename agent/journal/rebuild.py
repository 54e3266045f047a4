"""What can still be read of a damaged journal, into the one that takes its place.

That one is written as a draft beside it, so that a kill at any step leaves a journal: the old one until all is done. Must not
live here: what is lost for it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from agent.journal.batch_index import Entry
from agent.journal.directory import BESIDE, Corrupt, Unavailable
from agent.journal.file import File
from agent.journal.rows import Changes, NewBatch

__all__ = ["adopt_draft", "copy_readable"]

_MOST_S: Final = 2.0  # nothing is committed meanwhile, and the kernel's ring holds for four
_TOGETHER: Final = 1 << 20  # bytes a transaction


def copy_readable(old: File, path: Path, wanted: Iterable[Entry]) -> set[int]:
    """Copies the bodies of these batches to the draft, in this order, for as long as there is time; closes the old one.

    Returns the ids of those that are safe there. Raises nothing: what can't be had is not among them.
    """
    saved: set[int] = set()
    until = time.monotonic() + _MOST_S
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
                        group.append(NewBatch(entry.id, entry.place, entry.queue.sink, entry.forks, batch))
                        size += len(batch.body)
                if size >= _TOGETHER:
                    _write(draft, group, saved)
                    size = 0
            _write(draft, group, saved)
        finally:
            draft.close()
    old.close()
    return saved


def adopt_draft(path: Path) -> None:
    """Where there is no journal a draft becomes it; where there is one, a draft was given up. Raises Away."""
    try:
        if path.exists():
            _remove(_draft(path))
            return
        for suffix in reversed(BESIDE):  # its own name last: then all of it is there
            beside = _beside(_draft(path), suffix)
            if beside.exists():
                beside.rename(_beside(path, suffix))
    except OSError as error:
        raise Unavailable(error.strerror) from error


def _write(draft: File, group: list[NewBatch], saved: set[int]) -> None:
    draft.write(Changes([], group, [], [], {}))
    draft.upkeep()
    saved.update(new.id for new in group)
    group.clear()


def _draft(path: Path) -> Path:
    return path.with_name(path.name + ".new")


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _remove(path: Path) -> None:
    for suffix in BESIDE:
        _beside(path, suffix).unlink(missing_ok=True)
