"""The forks of one pod in a span, as a part of statements."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from collector.model import Span
from collector.query.pods.counter_sources import SourceKey

__all__ = ["FORKS_OF_POD", "Keys", "parameters"]

Keys = Sequence[tuple[str, str, str]]  # cluster, namespace and pod that its forks may be stored under

FORKS_OF_POD: Final = (
    "FROM fork WHERE received >= fromUnixTimestamp64Nano({since:Int64}) AND time >= fromUnixTimestamp64Nano({start:Int64}) "
    "AND time < fromUnixTimestamp64Nano({end:Int64}) AND (stream, holder) IN {sources:Array(Tuple(String, Int64))} "
    "AND (cluster, namespace, pod) IN {keys:Array(Tuple(String, String, String))}"
)


def parameters(sources: Iterable[SourceKey], keys: Keys, span: Span) -> dict[str, object]:
    return {"sources": list(sources), "keys": keys, "start": span.start, "end": span.end}
