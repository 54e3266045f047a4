"""A fork's id is read back as it was made; any other text is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.ids import ForkId, fork_id, parse_fork_id

BOOT, INSTANCE = "0ac846b9-54b9-46db-ad41-e0a5f64de594", "9f3c51d2a7e04b68"
STREAM = f"{BOOT}.{INSTANCE}"
streams = st.builds(lambda boot, instance: f"{boot}.{instance:016x}", st.uuids(), st.integers(0, 2**64 - 1))


@given(streams, st.integers(0, 8191), st.integers(0, 2**63 - 1))
def test_an_id_is_read_back_as_it_was_made(stream, cpu, sequence):
    assert parse_fork_id(fork_id(stream, cpu, sequence)) == ForkId(stream, cpu, sequence)


@given(streams, st.integers(0, 8191), st.integers(0, 2**63 - 1), st.integers(0, 8191), st.integers(0, 2**63 - 1))
def test_two_forks_never_have_one_id(stream, cpu, sequence, other_cpu, other_sequence):
    same = (cpu, sequence) == (other_cpu, other_sequence)
    assert (fork_id(stream, cpu, sequence) == fork_id(stream, other_cpu, other_sequence)) == same


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "...",
        STREAM,
        f"{STREAM}.0",
        f"{STREAM}.0.1.2",
        f"{STREAM}.summary.4821.64",
        f"{STREAM}.node.64",
        f"{STREAM}.gap.-.ring_full.4821.214",
        f"{STREAM}.storm.4790.1.start",
        f"{STREAM}..1",
        f"{STREAM}.0.",
        f"{STREAM}.-1.1",
        f"{STREAM}.0.-1",
        f"{STREAM}.0.+1",
        f"{STREAM}.0. 1",
        f"{STREAM}.0.1\n",
        f"{STREAM}.0.1e3",
        f"{STREAM}.0.0x1",
        f"{STREAM}.0.1_0",
        f"{STREAM}.0.\u0661",
        f"{STREAM}.0.\u00b2",
        f"{STREAM}.100000.1",
        f"{STREAM}.0.{10**19}",
        f"{STREAM}.0.{'9' * 5000}",
        f"{BOOT[:-1]}.{INSTANCE}.0.1",
        f"{BOOT}.{INSTANCE}0.0.1",
        f"{BOOT}.0.1",
    ],
)
def test_a_text_that_is_no_id_is_refused(text):
    with pytest.raises(ValueError, match="not a fork's id"):
        parse_fork_id(text)


@given(st.text() | st.lists(st.text(max_size=40), min_size=4, max_size=4).map(".".join))
def test_any_text_is_an_id_or_refused_with_a_short_message(text):
    try:
        found = parse_fork_id(text)
    except ValueError as error:
        assert len(str(error)) < 1000
    else:
        assert found.cpu >= 0
        assert found.sequence >= 0


@pytest.mark.parametrize(
    "stream", ["x" * 36 + ".9f3c51d2a7e04b68", f"{BOOT}.{'<' * 16}", f"{BOOT[:-1]}\n.{INSTANCE}", f"{BOOT}.{'٣' * 16}"]
)
def test_a_stream_that_is_no_boot_id_and_instance_is_refused(stream):
    with pytest.raises(ValueError, match="not a fork's id"):
        parse_fork_id(f"{stream}.0.1")


@pytest.mark.parametrize("numbers", ["00.1", "0.01", "0.00"])
def test_one_fork_has_one_id_only(numbers):
    with pytest.raises(ValueError, match="not a fork's id"):
        parse_fork_id(f"{STREAM}.{numbers}")
