"""How large the store is."""

from __future__ import annotations

from typing import Final, NamedTuple

from collector.model import Filter
from collector.query.pods.find import find_pods
from collector.query.read_context import ReadContext

__all__ = ["Sizes", "sizes"]

_PARTS: Final = (
    "SELECT sumIf(rows, table IN ('fork', 'fork_local')), sum(bytes_on_disk) FROM system.parts "
    "WHERE active AND database = currentDatabase()"
)


class Sizes(NamedTuple):
    """`forks`: rows, of which some may not be merged with their duplicates yet. `bytes`: on the disk."""

    forks: int
    pods: int
    bytes: int


class _PartsRow(NamedTuple):
    forks: int
    bytes: int


def sizes(context: ReadContext) -> Sizes:
    (parts,) = context.rows(_PartsRow, _PARTS)
    return Sizes(int(parts.forks), find_pods(context, Filter(), 1).in_all, int(parts.bytes))
