"""The latest forks of one pod or host."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from collector.query.filters import Conditions
from collector.query.forks.rows import NOT_EXPIRED, events, newest
from collector.query.pods.counter_sources import SourceKey
from collector.query.read_context import ReadContext
from wire.events import Fork

__all__ = ["latest_forks"]

_OF_POD: Final = (
    "(stream, holder) IN {sources:Array(Tuple(String, Int64))} "
    "AND (cluster, namespace, pod) IN {keys:Array(Tuple(String, String, String))}"
)


def latest_forks(
    context: ReadContext, sources: Sequence[SourceKey], keys: Sequence[tuple[str, str, str]], limit: int
) -> list[Fork]:
    """Of these counter sources, newest first, as they were sent. `keys`: what they may be stored under."""
    conditions = Conditions(NOT_EXPIRED, _OF_POD, sources=sources, keys=keys)
    return [fork.body for fork in events(context, newest(context, conditions, limit, None))]
