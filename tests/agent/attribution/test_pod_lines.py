"""The bytes of a watch become lines, at a cost that grows with the bytes and within a bound."""

import pytest

from agent.attribution.pods.lines import LONGEST, Lines, LineTooLong


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_the_lines_are_the_same_however_the_bytes_arrive(size):
    stream, lines = b"one\n\ntwo\r\nthree", Lines()
    found = [line for at in range(0, len(stream), size) for line in lines.feed(stream[at : at + size])]
    assert found == [b"one", b"two\r"]
    assert lines.feed(b"\n") == [b"three"]


@pytest.mark.parametrize("pieces", [1, 64])
def test_a_line_without_an_end_is_refused(pieces):
    lines = Lines()
    for _ in range(pieces - 1):
        assert lines.feed(b"x" * (LONGEST // pieces)) == []
    with pytest.raises(LineTooLong):
        lines.feed(b"x" * (LONGEST // pieces + 1))


def test_a_line_of_the_longest_length_is_a_line():
    lines = Lines()
    assert lines.feed(b"x" * LONGEST) == []
    assert lines.feed(b"\n") == [b"x" * LONGEST]
