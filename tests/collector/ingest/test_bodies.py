"""Bodies are unpacked with a bound, whatever they claim."""

import gzip
import io
import random
import tracemalloc
from contextlib import suppress
from types import SimpleNamespace

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from isal import isal_zlib

from collector.ingest import bodies
from collector.ingest.bodies import ENCODINGS, MEMBERS, BodyTooLarge, InvalidBody, UnknownEncoding, unpack

MIB = 2**20
PACK = {"gzip": gzip.compress, "zstd": zstandard.compress, "identity": bytes, "": bytes}


def plain(body, encoding, most):
    return b"".join(unpack(body, encoding, most))


@pytest.mark.parametrize("encoding", PACK)
@given(st.binary(max_size=5000))
def test_what_was_packed_comes_out_again(encoding, body):
    assert plain(PACK[encoding](body), encoding, 5000) == body


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_a_large_body_comes_out_whole(encoding):
    body = bytes(range(256)) * 40_000
    assert plain(PACK[encoding](body), encoding, len(body)) == body
    with pytest.raises(BodyTooLarge):
        plain(PACK[encoding](body), encoding, len(body) - 1)


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_a_bomb_is_cut_off_before_it_is_unpacked(encoding):
    if encoding == "gzip":
        packer = isal_zlib.compressobj(wbits=31)
        bomb = b"".join(packer.compress(bytes(MIB)) for _ in range(1024)) + packer.flush()
    else:
        out = io.BytesIO()
        with zstandard.ZstdCompressor(level=3).stream_writer(out, closefd=False) as packer:
            for _ in range(1024):
                packer.write(bytes(MIB))  # type: ignore[attr-defined]
        bomb = out.getvalue()
    tracemalloc.start()
    with pytest.raises(BodyTooLarge):
        plain(bomb, encoding, MIB)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 * MIB  # of 1 GiB that it holds


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_a_body_that_ends_too_early_is_invalid(encoding):
    packed = PACK[encoding](b"one line\n" * 1000)
    for length in range(1, len(packed)):
        with pytest.raises(InvalidBody):
            plain(packed[:length], encoding, MIB)


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_several_members_one_after_the_other_are_one_body(encoding):
    assert plain(PACK[encoding](b"a\n") + PACK[encoding](b"b\n"), encoding, MIB) == b"a\nb\n"


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_a_body_of_very_many_members_is_refused(encoding):
    """One MiB of empty members once took the writer's thread three seconds, and four took it 56."""
    assert plain(PACK[encoding](b"a") * MEMBERS, encoding, MIB) == b"a" * MEMBERS
    with pytest.raises(InvalidBody, match=f"more than {MEMBERS}"):
        plain(PACK[encoding](b"") * (MIB // 20), encoding, MIB)


class CountedBytes:
    """Stands for a decompressor, and counts what it is given and what it copies to give it back."""

    def __init__(self, real, work):
        self.real, self.work = real, work

    def decompress(self, data, *most):
        piece = self.real.decompress(data, *most)
        self.work.append(len(data) + len(piece) + len(self.unused_data) + len(self.unconsumed_tail))
        return piece

    @property
    def eof(self):
        return self.real.eof

    @property
    def unused_data(self):
        return self.real.unused_data

    @property
    def unconsumed_tail(self):
        return getattr(self.real, "unconsumed_tail", b"")


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
@pytest.mark.parametrize("content", [b"", bytes(1000), bytes(range(256)) * 40])
def test_what_unpacking_copies_grows_with_what_goes_in_and_comes_out_alone(encoding, content, monkeypatch):
    """With as many members or frames as are taken. The whole rest of the body behind each would be copied 64 times."""
    work = []
    zlib_object, zstd_class = bodies.zlib.decompressobj, bodies.zstandard.ZstdDecompressor
    monkeypatch.setattr(bodies.zlib, "decompressobj", lambda **options: CountedBytes(zlib_object(**options), work))
    monkeypatch.setattr(
        bodies.zstandard,
        "ZstdDecompressor",
        lambda **options: SimpleNamespace(decompressobj=lambda: CountedBytes(zstd_class(**options).decompressobj(), work)),
    )
    large = random.Random(7).randbytes(MIB)  # noqa: S311
    body = PACK[encoding](content) * (MEMBERS - 1) + PACK[encoding](large)
    unpacked = plain(body, encoding, 4 * MIB)
    assert unpacked.endswith(large)
    steps = (
        {"gzip": bodies.GZIP_STEP_IN, "zstd": bodies.ZSTD_STEP}[encoding] * 2 * MEMBERS
    )  # those that a member's end cuts off
    assert sum(work) <= 2 * (len(body) + len(unpacked)) + steps


@pytest.mark.parametrize("level", [0, 1, 9])
@given(st.lists(st.binary(max_size=70_000), min_size=1, max_size=5))
@settings(max_examples=30, deadline=None)
def test_members_of_any_length_come_out_whole(level, members):
    body = b"".join(gzip.compress(member, level) for member in members)
    assert plain(body, "gzip", 10 * MIB) == b"".join(members)


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
@given(st.binary(min_size=1, max_size=400))
def test_noise_is_an_invalid_body(encoding, noise):
    with suppress(InvalidBody, BodyTooLarge):
        plain(noise, encoding, MIB)


def test_a_zstd_frame_with_a_huge_window_is_refused():
    parameters = zstandard.ZstdCompressionParameters(window_log=27, write_content_size=False)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    packed = packer.compress(b"x" * 100) + packer.flush()
    with pytest.raises(InvalidBody, match=r"memory|window"):
        plain(packed, "zstd", MIB)


def test_an_unknown_encoding_is_reported():
    assert "br" not in ENCODINGS
    with pytest.raises(UnknownEncoding):
        plain(b"", "br", MIB)
