"""Items as lines: newline-delimited JSON, and the two protocols that use it, Splunk HEC and Elasticsearch's bulk."""

from __future__ import annotations

from collections.abc import Sequence

from agent.sinks.framing import text_bytes
from wire.batch import CONTENT_TYPE

__all__ = ["Bulk", "Hec", "Ndjson"]


class Ndjson:
    """Newline-delimited JSON. Every line ends with a newline, the last one, too."""

    content_type = CONTENT_TYPE

    def order(self, items: Sequence[str]) -> None:
        return None

    def size(self, item: str) -> int:
        return text_bytes(item) + 1

    def body(self, items: Sequence[str]) -> bytes:
        # What cannot be UTF-8 (a lone surrogate in a path) is replaced where it is read; this is a second line of defence.
        return "\n".join((*items, "")).encode(errors="replace")

    def items(self, body: bytes) -> list[str]:
        return body.decode().split("\n")[:-1]


class Hec(Ndjson):
    """Splunk's. It accepts objects one after the other, with or without white space between them."""

    content_type = "application/json"


class Bulk(Ndjson):
    """Elasticsearch's, with two lines for each item: the action and the document. The last newline is required."""

    def items(self, body: bytes) -> list[str]:
        lines = iter(body.decode().split("\n")[:-1])
        return [f"{action}\n{document}" for action, document in zip(lines, lines, strict=True)]
