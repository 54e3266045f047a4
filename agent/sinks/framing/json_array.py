"""Items as one JSON array, for receivers that take nothing else: most webhooks, Fluent Bit's `http` input.

Must not live here: what the items say.
"""

from __future__ import annotations

from collections.abc import Sequence

from agent.sinks.framing import text_bytes

__all__ = ["JsonArray"]

_BETWEEN = ",\n"  # no item holds a newline, so an array of any items can be taken apart without reading them


class JsonArray:
    content_type = "application/json"

    def order(self, items: Sequence[str]) -> None:
        return None

    def size(self, item: str) -> int:
        return text_bytes(item) + len(_BETWEEN)

    def body(self, items: Sequence[str]) -> bytes:
        return f"[{_BETWEEN.join(items)}]".encode(errors="replace")

    def items(self, body: bytes) -> list[str]:
        text = body[1:-1].decode()
        return text.split(_BETWEEN) if text else []
