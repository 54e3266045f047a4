"""Bodies are unpacked with a bound, whatever they claim."""

import gzip
import io
import tracemalloc
from contextlib import suppress

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from isal import isal_zlib

from collector.ingest.bodies import ENCODINGS, MEMBERS, BodyTooLarge, InvalidBody, UnknownEncoding, plain

MIB = 2**20
PACK = {"gzip": gzip.compress, "zstd": zstandard.compress, "identity": bytes, "": bytes}


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
