"""The forks of a commit whose ids had been received before, in this commit or an earlier one. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from collector.model import CheckedFork
from collector.model.number_ranges import Run

__all__ = ["ForkKey", "Repeat", "Repeats"]

ForkKey = tuple[str, int, int]  # stream, CPU, sequence


class Repeat(NamedTuple):
    """`batch`: its place in the commit. `place`: the fork's among the forks of its batch. `kept`: the fork of this commit that
    is kept; None: an earlier commit has it."""

    batch: int
    place: int
    fork: CheckedFork
    kept: CheckedFork | None


class Repeats:
    """Of one commit. `found` has them in the order of the batches."""

    def __init__(self) -> None:
        self.found: list[Repeat] = []
        self._inserted: list[tuple[str, int, Run, Mapping[int, CheckedFork]]] = []
        self._kept: dict[ForkKey, CheckedFork] = {}
        self._batch = -1

    def begin_batch(self) -> None:
        self._batch += 1

    def inserted(self, stream: str, cpu: int, run: Run, by_sequence: Mapping[int, CheckedFork]) -> None:
        """The forks of the run are new."""
        self._inserted.append((stream, cpu, run, by_sequence))

    def find(self, forks: Sequence[CheckedFork]) -> None:
        """In a batch of which not all forks were new, after what it has of new ones was reported by `inserted`."""
        self._index()
        for place, fork in enumerate(forks):
            kept = self._kept.get((fork.stream, fork.cpu, fork.sequence))
            if kept is not fork:
                self.found.append(Repeat(self._batch, place, fork, kept))

    def stored(self) -> Iterable[CheckedFork]:
        """Those that an earlier commit has."""
        return (repeat.fork for repeat in self.found if repeat.kept is None)

    def _index(self) -> None:
        for stream, cpu, (first, last), by_sequence in self._inserted:
            for sequence in range(first, last + 1):
                self._kept[stream, cpu, sequence] = by_sequence[sequence]
        self._inserted.clear()
