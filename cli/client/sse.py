"""Parses server-sent events from the bytes of a stream (WHATWG HTML, 9.2). Pure."""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["ServerEvent", "ServerEvents", "TooLong"]

MAX_EVENT: Final = 4 << 20  # bytes of one event; the collector accepts 256 KiB of JSON by default, and more where it is so set


class TooLong(Exception):
    """An event exceeds MAX_EVENT: the server is no collector."""


class ServerEvent(NamedTuple):
    name: str
    data: str


class ServerEvents:
    """`last_id`: the id of the last complete event; "" where the server sends none."""

    def __init__(self) -> None:
        self.last_id = ""
        self._rest = b""
        self._name, self._data, self._id, self._size = "", list[str](), "", 0

    def feed(self, chunk: bytes) -> list[ServerEvent]:
        """The events that end in this chunk. Raises `TooLong`."""
        data = self._rest + chunk
        # A CR at the end may be half of a CR LF, so it stays until the next chunk.
        end = max(data.rfind(b"\n"), data.rfind(b"\r", 0, -1)) + 1
        lines, self._rest = data[:end].splitlines(), data[end:]
        events = [event for line in lines if (event := self._line(line)) is not None]
        if self._size + len(self._rest) > MAX_EVENT:
            raise TooLong
        return events

    def _line(self, line: bytes) -> ServerEvent | None:
        if not line:
            return self._end()
        self._size += len(line)
        if self._size > MAX_EVENT:
            raise TooLong
        field, _, value = line.decode(errors="replace").partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            self._data.append(value)
        elif field == "event":
            self._name = value
        elif field == "id" and value.isprintable():  # it is sent back in a header
            self._id = value
        return None

    def _end(self) -> ServerEvent | None:
        name, data, self.last_id = self._name, self._data, self._id
        self._begin()
        return ServerEvent(name or "message", "\n".join(data)) if data else None

    def _begin(self) -> None:
        self._name, self._data, self._id, self._size = "", list[str](), self.last_id, 0
