"""What a protocol requires around each item of a schema: encoders that wrap an encoder. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import orjson

from agent.model import Event, Fork
from agent.sinks.encoders.encoder import Encoder

__all__ = ["BulkEnvelope", "HecEnvelope"]


class HecEnvelope:
    """Splunk's: time, host, source and sourcetype. `index` None: the token's default index.

    Times are in seconds with six decimals: Splunk reads a double, which has no more precision.
    """

    def __init__(self, encoder: Encoder, node: str, source: str, sourcetype: str, index: str | None) -> None:
        self._encoder = encoder
        metadata = {"host": node, "source": source, "sourcetype": sourcetype} | ({"index": index} if index else {})
        self._rest = f'{orjson.dumps(metadata).decode()[1:-1]},"event":'

    def forks(self, stream: str, forks: Sequence[Fork]) -> list[str]:
        rest, items = self._rest, self._encoder.forks(stream, forks)
        return [
            f'{{"time":{fork.time // 1_000_000_000}.{fork.time // 1_000 % 1_000_000:06d},{rest}{item}}}'  # type: ignore[str-bytes-safe]
            for fork, item in zip(forks, items, strict=True)
        ]

    def event(self, event: Event) -> str:
        timestamp = event["timestamp"]  # RFC 3339 with nine decimals
        seconds = int(datetime.fromisoformat(f"{timestamp[:19]}+00:00").timestamp())
        return f'{{"time":{seconds}.{timestamp[20:26]},{self._rest}{self._encoder.event(event)}}}'  # type: ignore[str-bytes-safe]


class BulkEnvelope:
    """Elasticsearch's: an action line before the document. `index` None: the URL names it.

    The action is `create` with the event's id: an event that arrives twice is a conflict, and is stored once.
    """

    def __init__(self, encoder: Encoder, index: str | None) -> None:
        self._encoder = encoder
        self._head = '{"create":{' + (f'"_index":{_json(index)},' if index else "") + '"_id":'

    def forks(self, stream: str, forks: Sequence[Fork]) -> list[str]:
        head, items = f'{self._head}"{stream}', self._encoder.forks(stream, forks)
        return [
            f'{head}.{fork.cpu}.{fork.sequence}"}}}}\n{item}'  # type: ignore[str-bytes-safe]
            for fork, item in zip(forks, items, strict=True)
        ]

    def event(self, event: Event) -> str:
        return f"{self._head}{_json(event['id'])}}}}}\n{self._encoder.event(event)}"  # type: ignore[str-bytes-safe]


def _json(text: str) -> str:
    return orjson.dumps(text).decode()
