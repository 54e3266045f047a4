"""Sizes and durations: what is read, and what is not."""

import pytest

from wire.units import is_offset, nanoseconds, seconds, size


@pytest.mark.parametrize(
    ("text", "read"),
    [("0", 0), ("1000", 1000), ("512Ki", 524_288), (" 16 Mi ", 16 << 20), ("1Gi", 1 << 30), ("3k", 3000), ("2M", 2_000_000)],
)
def test_a_size_is_a_whole_number_of_bytes_or_of_a_unit(text, read):
    assert size(text) == read


@pytest.mark.parametrize("text", ["", "Mi", "1.5Mi", "-1", "1Ti", "1mi", "9" * 16, "٣Mi", "1Mi\n2"])
def test_other_text_is_no_size(text):
    assert size(text) is None


@pytest.mark.parametrize(
    ("text", "read"), [("500ms", 0.5), ("3ms", 0.003), ("1.5s", 1.5), (" 5 m", 300.0), ("12h", 43_200.0), ("7d", 604_800.0)]
)
def test_a_setting_s_duration_is_read_as_seconds(text, read):
    assert seconds(text) == read


@pytest.mark.parametrize("text", ["", "10", "s", "-1s", "1w", "1.2345s", "1e3s", "٣s"])
def test_other_text_is_no_setting_s_duration(text):
    assert seconds(text) is None


@pytest.mark.parametrize(("text", "read"), [("0s", 0), ("500ms", 500_000_000), ("10s", 10**10), ("2w", 14 * 86400 * 10**9)])
def test_a_query_s_duration_is_read_as_nanoseconds(text, read):
    assert nanoseconds(text) == read


@pytest.mark.parametrize("text", ["", "10", " 10s", "1.5s", "10 s", "-10s", "10s\n", "1e3s", "٣s"])
def test_other_text_is_no_query_s_duration(text):
    assert nanoseconds(text) is None


@pytest.mark.parametrize(("text", "offset"), [("15m", True), ("-15m", True), ("--15m", False), ("-", False), ("-o", False)])
def test_an_offset_is_a_duration_with_or_without_a_minus(text, offset):
    assert is_offset(text) is offset
