"""Whole answers: lists, pages, errors, the last line of an export, and the events of the stream."""

from __future__ import annotations

from typing import Literal, TypedDict

from wire.api.nodes import DeletedRows, NodeEntry, NodeLedger
from wire.api.pods import HostEntry, PodEntry
from wire.events import Fork

__all__ = [
    "Cut",
    "Error",
    "ForkPage",
    "LedgerPage",
    "LostForks",
    "PodList",
    "PodsTick",
]


class Error(TypedDict):
    """Why there is no answer: one sentence that names what was wrong and says what would be right."""

    error: str


class PodList(TypedDict):
    """The pods that were found, the most recently seen first; all hosts and nodes. `pods_in_all`: found, shown or not."""

    pods: list[PodEntry]
    pods_in_all: int
    host: list[HostEntry]
    nodes: list[NodeEntry]


class LedgerPage(TypedDict):
    """Of the forks that the kernels captured: how many arrived, and what became of the others."""

    nodes: list[NodeLedger]
    deleted_early: list[DeletedRows]


class ForkPage(TypedDict):
    """Forks as they were sent, the newest first. `next`: the cursor of the next page, null at the end."""

    forks: list[Fork]
    next: str | None


class Cut(TypedDict):
    """The last line of an NDJSON export that does not contain everything. `next`: the cursor to continue from."""

    event: Literal["cut"]
    forks: int
    next: str


class PodsTick(TypedDict):
    """The stream's event `pods`: something new was stored."""

    now: str


class LostForks(TypedDict):
    """The stream's event `lost`: so many forks were skipped, as the reader was too slow. `more`: and others, not counted."""

    forks: int
    more: bool
