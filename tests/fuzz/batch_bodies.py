"""A body that someone POSTs to the collector: its compression. The first byte chooses the Content-Encoding."""

import gzip

import zstandard

from collector.ingest.bodies import BodyTooLarge, InvalidBody, unpack
from tests.fuzz.recorded import EVENTS

MOST = 1 << 16
ENCODINGS = ("gzip", "zstd", "identity")
BATCH = b"\n".join(EVENTS)
COVERS = ["collector.ingest.bodies"]
SEEDS = [
    b"\0" + gzip.compress(BATCH), b"\0" + gzip.compress(b"a") * 3, b"\1" + zstandard.compress(BATCH),
    b"\1" + zstandard.compress(b"a") * 3, b"\2" + BATCH, b"\0" + gzip.compress(b"\0" * 200_000),
]  # fmt: skip


def unpacked(body, encoding):
    pieces, size = [], 0
    for piece in unpack(body, encoding, MOST):
        assert len(piece) <= 16 << 20
        pieces.append(piece)
        size += len(piece)
        assert size <= MOST
    return b"".join(pieces), len(pieces)


def check(data):
    encoding, body = ENCODINGS[data[0] % 3] if data else "gzip", bytes(data[1:])
    try:
        _, steps = unpacked(body, encoding)
        assert steps <= 2 * len(body) + 1  # a member takes more than a byte
    except InvalidBody as error:
        assert str(error).isprintable() and len(str(error)) < 300
    except BodyTooLarge:
        pass
    if len(body) <= MOST:
        for name, compress in (("gzip", gzip.compress), ("zstd", zstandard.compress)):
            assert unpacked(compress(body), name)[0] == body
