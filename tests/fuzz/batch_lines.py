"""The lines of a batch: JSON, events of every kind, ids, times, attributions."""

from collector.ingest.lines import MixedStreams, TooManyLines, check_lines
from tests.fuzz.recorded import EVENTS
from wire.ids import fork_id, parse_fork_id

COVERS = [
    "collector.ingest.lines",
    "collector.ingest.fields",
    "collector.ingest.attribution",
    "collector.ingest.kinds.*",
    "wire.ids",
]
SEEDS = [*EVENTS, b"\n".join(EVENTS), b"\n\n{}\n"]
MOST_LINE, MOST_LINES = 8192, 64


def check(data):
    body = bytes(data)
    try:
        checked = check_lines(body, MOST_LINE, MOST_LINES)
    except (TooManyLines, MixedStreams):
        return
    lines = (body.removesuffix(b"\n") if body else b"").count(b"\n") + 1 if body else 0
    assert len(checked) <= lines
    numbers = [number for number, _ in checked.refused]
    assert numbers == sorted({*numbers}) and all(0 <= number < lines for number in numbers)
    for _, reason in checked.refused:
        assert reason.isprintable(), reason
        assert len(reason) < 500
    for fork in checked.forks:
        name = fork_id(fork.stream, fork.cpu, fork.sequence)
        assert parse_fork_id(name) == (fork.stream, fork.cpu, fork.sequence)
        assert name.encode() in body or b"\\u" in body
