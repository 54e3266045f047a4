"""What a protocol wants around each item of a schema: an encoder that wraps an encoder. Pure.

Must not live here: what is inside, and how the wrapped items make a body (framing).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import orjson

from agent.model import Event, Fork
from agent.sinks.encoders.encoder import Encoder

__all__ = ["BulkEnvelope", "HecEnvelope"]


class HecEnvelope:
    """Splunk's: when, and from where. `index` None: the token's own.

    Times in seconds with six digits: Splunk reads a double, which holds no more of them.
    """

    def __init__(self, encoder: Encoder, node: str, source: str, sourcetype: str, index: str | None) -> None:
        self._encoder = encoder
        parent_context = {"host": node, "source": source, "sourcetype": sourcetype} | ({"index": index} if index else {})
        self._rest = f'{orjson.dumps(parent_context).decode()[1:-1]},"event":'

    def forks(self, stream: str, forks: Sequence[Fork]) -> list[str]:
        rest, inside = self._rest, self._encoder.forks(stream, forks)
        return [
            f'{{"time":{fork.time // 1_000_000_000}.{fork.time // 1_000 % 1_000_000:06d},{rest}{item}}}'  # type: ignore[str-bytes-safe]
            for fork, item in zip(forks, inside, strict=True)
        ]

    def event(self, event: Event) -> str:
        moment = event["timestamp"]  # RFC 3339 with nine digits after the second
        seconds = int(datetime.fromisoformat(f"{moment[:19]}+00:00").timestamp())
        return f'{{"time":{seconds}.{moment[20:26]},{self._rest}{self._encoder.event(event)}}}'  # type: ignore[str-bytes-safe]


class BulkEnvelope:
    """Elasticsearch's: a line before the document. `create` with the event's own id: one that comes twice is a conflict, and
    counts once. `index` None: the URL names it."""

    def __init__(self, encoder: Encoder, index: str | None) -> None:
        self._encoder = encoder
        self._head = '{"create":{' + (f'"_index":{_json(index)},' if index else "") + '"_id":'

    def forks(self, stream: str, forks: Sequence[Fork]) -> list[str]:
        head, inside = f'{self._head}"{stream}', self._encoder.forks(stream, forks)
        return [
            f'{head}.{fork.cpu}.{fork.sequence}"}}}}\n{item}'  # type: ignore[str-bytes-safe]
            for fork, item in zip(forks, inside, strict=True)
        ]

    def event(self, event: Event) -> str:
        return f"{self._head}{_json(event['id'])}}}}}\n{self._encoder.event(event)}"  # type: ignore[str-bytes-safe]


def _json(text: str) -> str:
    return orjson.dumps(text).decode()
