"""Times as text, to the nanosecond."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent.sinks.encoders.times import Rfc3339

UNIX_ZERO = datetime(1970, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "1970-01-01T00:00:00.000000000Z"),
        (1, "1970-01-01T00:00:00.000000001Z"),
        (1_795_376_910_118_291_004, "2026-11-22T19:48:30.118291004Z"),
        (951_782_400 * 10**9, "2000-02-29T00:00:00.000000000Z"),
    ],
)
def test_a_time_has_nine_decimals_and_a_z(ns, text):
    assert Rfc3339()(ns) == text


@given(st.lists(st.integers(0, 253402300799 * 10**9)))
def test_every_time_is_equal_to_datetimes(moments):
    time = Rfc3339()
    for ns in moments:
        text = time(ns)
        whole = UNIX_ZERO + timedelta(seconds=ns // 10**9)
        assert datetime.fromisoformat(text[:19] + "+00:00") == whole
        assert text[19:] == f".{ns % 10**9:09d}Z"


@given(st.integers(-(2**63), 2**65) | st.integers(-(2**90), 2**90))
@example(10**30)
@example(-(10**30))
@example(-1)
def test_a_time_out_of_range_is_valid_text(ns):
    text = Rfc3339()(ns)
    assert len(text) == 30
    datetime.fromisoformat(text[:19])
