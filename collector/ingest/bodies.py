"""Decompression of a request's body in bounded steps: `unpack` makes no more than `most` bytes and one step (16 MiB), whatever
the body claims, and its time grows with the bytes that go in and come out. Pure."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Final

import zstandard

__all__ = ["ENCODINGS", "BodyTooLarge", "InvalidBody", "UnknownEncoding", "unpack"]

Body = bytes | bytearray
# What a zstd encoder uses up to level 19, and the most that RFC 8878 asks a decoder for. A frame that needs more is refused
# before its window is allocated.
ZSTD_WINDOW: Final = 8 * 1024 * 1024
# zstd's decompressobj has no bound on what it makes of its input: 4 bytes can hold 128 KiB. So it is fed so little at once that
# one step stays under 16 MiB.
ZSTD_STEP: Final = 512
PLAIN_STEP: Final = 1024 * 1024  # bytes at once of a body that is not compressed
GZIP_STEP: Final = 1024 * 1024  # bytes of output at once
GZIP_STEP_IN: Final = 16 * 1024  # bytes of input at once
MEMBERS: Final = 64  # gzip members or zstd frames of one body; a sender that compresses in pieces makes a few


class InvalidBody(Exception):
    """The body is not of its Content-Encoding."""


class BodyTooLarge(Exception):
    """The body decompresses to more than `most` bytes."""


class UnknownEncoding(Exception):
    """A Content-Encoding that is not supported."""


def unpack(body: Body, encoding: str, most: int) -> Iterator[bytes]:
    """Pieces, each made when it is asked for. `encoding` as in Content-Encoding. Raises `InvalidBody`, `BodyTooLarge`,
    `UnknownEncoding`."""
    chosen = ENCODINGS.get(encoding.strip().lower())
    if chosen is None:
        raise UnknownEncoding(encoding)
    size = 0
    for piece in chosen(memoryview(body)):
        size += len(piece)
        if size > most:
            raise BodyTooLarge
        yield piece


def _identity(body: memoryview) -> Iterator[bytes]:
    for at in range(0, len(body), PLAIN_STEP):
        yield bytes(body[at : at + PLAIN_STEP])


def _gzip(body: memoryview) -> Iterator[bytes]:
    """A gzip file may be several members, one after the other. They are read in small steps, because zlib copies what follows
    a member: with the whole rest of the body behind each, the time would grow with the square of its size."""
    at = members = 0
    while at < len(body):
        members += 1
        if members > MEMBERS:
            raise InvalidBody(f"gzip: more than {MEMBERS} members")
        member = zlib.decompressobj(wbits=31)
        while not member.eof:
            if at >= len(body):
                raise InvalidBody("gzip: it ends too early")
            rest: bytes | memoryview = body[at : at + GZIP_STEP_IN]
            at += len(rest)
            while not member.eof:
                try:
                    piece = member.decompress(rest, GZIP_STEP)
                except zlib.error as error:
                    raise InvalidBody(f"not gzip: {error}") from None
                rest = member.unconsumed_tail
                yield piece
                if not rest and len(piece) < GZIP_STEP:
                    break
        at -= len(member.unused_data)


def _zstd(body: memoryview) -> Iterator[bytes]:
    decompressor = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW)
    at = frames = 0
    while at < len(body):  # a zstd stream may be several frames
        frames += 1
        if frames > MEMBERS:
            raise InvalidBody(f"zstd: more than {MEMBERS} frames")
        frame = decompressor.decompressobj()
        while not frame.eof:
            if at >= len(body):
                raise InvalidBody("zstd: it ends too early")
            step = body[at : at + ZSTD_STEP]
            at += len(step)
            try:
                piece = frame.decompress(step)
            except zstandard.ZstdError as error:
                raise InvalidBody(f"not zstd: {error}") from None
            yield piece
        at -= len(frame.unused_data)


ENCODINGS: Final[dict[str, Callable[[memoryview], Iterator[bytes]]]] = {
    "": _identity,
    "identity": _identity,
    "gzip": _gzip,
    "x-gzip": _gzip,
    "zstd": _zstd,
}
