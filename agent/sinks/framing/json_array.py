"""Items as one JSON array, for receivers that accept nothing else: most webhooks, Fluent Bit's `http` input."""

from __future__ import annotations

from collections.abc import Sequence

from agent.sinks.framing import text_bytes

__all__ = ["JsonArray"]

_SEPARATOR = ",\n"  # no item contains a newline, so an array can be split without parsing it


class JsonArray:
    content_type = "application/json"

    def order(self, items: Sequence[str]) -> None:
        return None

    def size(self, item: str) -> int:
        return text_bytes(item) + len(_SEPARATOR)

    def body(self, items: Sequence[str]) -> bytes:
        return f"[{_SEPARATOR.join(items)}]".encode(errors="replace")

    def items(self, body: bytes) -> list[str]:
        text = body[1:-1].decode()
        return text.split(_SEPARATOR) if text else []
