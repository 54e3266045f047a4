"""HTTP/1.1 messages, read whole and unchanged (RFC 9112)."""

from __future__ import annotations

from typing import BinaryIO

__all__ = ["fields_of", "read_answer", "read_chunks", "read_head", "status_of"]


def read_head(stream: BinaryIO) -> bytes:
    """The head with its empty line. Empty at the end of the stream."""
    head = bytearray()
    while not head.endswith(b"\r\n\r\n"):
        piece = stream.read(1)
        if not piece:
            return b""
        head += piece
    return bytes(head)


def fields_of(head: bytes) -> tuple[str, dict[str, str]]:
    first, *lines = head.decode("latin-1").split("\r\n")[:-2]
    pairs = (line.partition(":") for line in lines)
    return first, {name.strip().lower(): value.strip() for name, _, value in pairs}


def status_of(raw: bytes) -> int:
    return int(raw.split(b" ", 2)[1])


def read_answer(stream: BinaryIO) -> bytes:
    """A receiver's whole response."""
    head = read_head(stream)
    if not head:
        raise ConnectionError("the receiver closed without an answer")
    status = status_of(head)
    if 100 <= status < 200:
        return read_answer(stream)
    _, headers = fields_of(head)
    if status in (204, 304):
        return head
    if "chunked" in headers.get("transfer-encoding", "").lower():
        return head + read_chunks(stream)
    size = headers.get("content-length")
    body = stream.read(-1 if size is None else int(size))
    if size is not None and len(body) < int(size):
        raise ConnectionError("the receiver broke off its answer")
    return head + body


def read_chunks(stream: BinaryIO) -> bytes:
    """A chunked body, unchanged, with its sizes."""
    body = bytearray()
    while True:
        line = _line(stream)
        body += line
        size = int(line.split(b";")[0], 16)
        left = size + 2
        if not size:
            while (line := _line(stream)) != b"\r\n":  # trailers
                body += line
            return bytes(body + line)
        while left:
            piece = stream.read(left)
            if not piece:
                raise ConnectionError("a chunk was cut off")
            body += piece
            left -= len(piece)


def _line(stream: BinaryIO) -> bytes:
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise ConnectionError("cut off in the middle of a line")
    return line
