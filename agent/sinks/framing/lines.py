"""Items as lines: newline-delimited JSON, and the two protocols that are made of it, Splunk HEC and Elasticsearch's bulk.

Must not live here: what the lines say.
"""

from __future__ import annotations

from collections.abc import Sequence

from agent.sinks.framing import text_bytes
from wire.batch import CONTENT_TYPE

__all__ = ["Bulk", "Hec", "Ndjson"]


class Ndjson:
    """Every line ends with a newline, the last one, too."""

    content_type = CONTENT_TYPE

    def order(self, items: Sequence[str]) -> None:
        return None

    def size(self, item: str) -> int:
        return text_bytes(item) + 1

    def body(self, items: Sequence[str]) -> bytes:
        # What can't be UTF-8 (a lone surrogate in a path) was replaced where it came in; this is for what was overlooked.
        return "\n".join((*items, "")).encode(errors="replace")

    def items(self, body: bytes) -> list[str]:
        return body.decode().split("\n")[:-1]


class Hec(Ndjson):
    """Splunk takes objects one after the other, with or without white space between them."""

    content_type = "application/json"


class Bulk(Ndjson):
    """Two lines an item: what to do, and the document to do it with. Elasticsearch refuses a body without the last newline."""

    def items(self, body: bytes) -> list[str]:
        lines = iter(body.decode().split("\n")[:-1])
        return [f"{action}\n{document}" for action, document in zip(lines, lines, strict=True)]
