"""Server-sent events out of the bytes of a stream (WHATWG HTML, 9.2).

Pure. Must not live here: HTTP, what an event means.
"""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["ServerEvent", "ServerEvents", "TooLong"]

LONGEST: Final = 4 << 20  # bytes of one event; the collector takes 256 KiB of JSON by default, and may have been told more


class TooLong(Exception):
    """An event without an end: no collector's."""


class ServerEvent(NamedTuple):
    name: str
    data: str


class ServerEvents:
    """`last_id`: where the stream stands; "" where the server does not say."""

    def __init__(self) -> None:
        self.last_id = ""
        self._rest = b""
        self._name, self._data, self._id, self._size = "", list[str](), "", 0

    def feed(self, chunk: bytes) -> list[ServerEvent]:
        """The events that end in this chunk. Raises `TooLong`."""
        data = self._rest + chunk
        # A CR at the end may be half of a CR LF, so it waits for what follows.
        end = max(data.rfind(b"\n"), data.rfind(b"\r", 0, -1)) + 1
        lines, self._rest = data[:end].splitlines(), data[end:]
        events = [event for line in lines if (event := self._line(line)) is not None]
        if self._size + len(self._rest) > LONGEST:
            raise TooLong
        return events

    def _line(self, line: bytes) -> ServerEvent | None:
        if not line:
            return self._end()
        self._size += len(line)
        if self._size > LONGEST:
            raise TooLong
        field, _, value = line.decode(errors="replace").partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            self._data.append(value)
        elif field == "event":
            self._name = value
        elif field == "id" and value.isprintable():  # it goes back in a header
            self._id = value
        return None

    def _end(self) -> ServerEvent | None:
        name, data, self.last_id = self._name, self._data, self._id
        self._begin()
        return ServerEvent(name or "message", "\n".join(data)) if data else None

    def _begin(self) -> None:
        self._name, self._data, self._id, self._size = "", list[str](), self.last_id, 0
