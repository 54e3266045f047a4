"""Every status of plain HTTP, in front of a receiver of lines, and of one of arrays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults import Forward

from .processes import Tenzir, until
from .response_rows import ACCEPTED, FORKS, HOLD, REJECTED, RETRY, SPLIT, Row, connection_rows, named, prove, respond
from .sink_scene import SinkScene, open_sink
from .sink_scene import until as awaited

pytestmark = [pytest.mark.receivers, pytest.mark.timeout(60)]
RECEIPT = {"accepted": 4, "duplicate": 0, "rejected": [{"line": 1, "reason": "no"}, {"line": 4, "reason": "no"}]}

ROWS = [
    *(Row(f"{status}", Forward(say=respond(status)), ACCEPTED) for status in (200, 201, 202, 204, 207)),
    Row("200 with another receiver's body", Forward(say=respond(200, {"rejected": "none", "ok": True})), ACCEPTED),
    Row("200 with a receipt that rejects two lines", Forward(say=respond(200, RECEIPT)), ACCEPTED, {"rejected": 2}),
    *(Row(f"{status}", respond(status), RETRY) for status in (408, 425, 429, 500, 501, 502, 503, 504, 507, 529)),
    *(Row(f"{status} with Retry-After", respond(status, Retry_After="1"), RETRY, pause_s=1.0) for status in (429, 503)),
    *(Row(f"{status}", respond(status), HOLD) for status in (301, 302, 307, 308, 401, 403, 404, 405, 407, 410, 415)),
    *(Row(f"{status}", respond(status), REJECTED, {"rejected": FORKS}, range(FORKS)) for status in (400, 402, 409, 422, 451)),
    Row("413", respond(413), SPLIT),
    *connection_rows(once=False),
]


def ids_at(plain: Tenzir) -> list[str]:
    """The ids of what was written; events of other schemas, which other tests send here, have theirs elsewhere."""
    return [event["id"] for event in plain.events() if "id" in event]


def arrived_at(plain: Tenzir) -> Callable[[SinkScene], Counter[str]]:
    def arrived(here: SinkScene) -> Counter[str]:
        end = f"{here.stream} end"
        plain.request("/", b'{"id":"%s"}\n' % end.encode())
        until(lambda: end in ids_at(plain), "all is written")
        return Counter(one for one in ids_at(plain) if one.startswith(f"{here.stream}."))

    return arrived


@pytest.mark.parametrize(**named(ROWS))
async def test_row(row: Row, plain: Tenzir, tmp_path: Path) -> None:
    await prove(row, plain.address, arrived_at(plain), tmp_path, "/in")


@pytest.mark.parametrize("status", [429, 503])
async def test_a_receiver_that_is_always_busy_is_waited_for(
    status: int, tenzir: Callable[[str], Tenzir], tmp_path: Path
) -> None:
    """Tenzir's own response, set in its pipeline."""
    pipeline = (
        f'accept_http "127.0.0.1:PORT", responses={{"/in": {{code: {status}, content_type: "text/plain", body: "busy"}}}}'
    )
    busy = tenzir(pipeline + " { read_ndjson }")
    async with open_sink(tmp_path, url=busy.url("/in")) as here:
        here.put()
        async with here.running():
            await awaited(lambda: here.sender.responses.get(str(status), 0) >= 3)
    assert {*here.states} == {f"retry: {status} busy"}
    assert (here.delivered, here.lost, here.queue.forks) == (0, {}, FORKS)


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
async def test_the_receiver_reads_every_compression(compression: str, plain: Tenzir, tmp_path: Path) -> None:
    async with open_sink(tmp_path, url=plain.url("/in"), compression=compression) as here:
        ids = here.put()
        await here.ship()
    assert arrived_at(plain)(here) == dict.fromkeys(ids, 1)


async def test_an_array_arrives_as_its_members(tenzir: Callable[[str], Tenzir], tmp_path: Path) -> None:
    arrays = tenzir('accept_http "127.0.0.1:PORT" { read_json arrays_of_objects=true }')
    async with open_sink(tmp_path, url=arrays.url("/in"), framing="json") as here:
        ids = here.put()
        await here.ship()
    until(lambda: len([*arrays.events()]) >= FORKS, "all is written")
    assert [event["id"] for event in arrays.events()] == ids


async def test_fluent_bit_accepts_an_array_and_no_lines(tenzir: Callable[[str], Tenzir], tmp_path: Path) -> None:
    """It responds 400, although the data is not wrong."""
    fluent = tenzir('from_fluent_bit "http", options={listen: "127.0.0.1", port: PORT}')
    async with open_sink(tmp_path, url=fluent.url("/")) as lines:
        lines.put()
        async with lines.running():
            await awaited(lambda: lines.states)
    assert lines.states[0] == "hold: 400 error: invalid 'Content-Type'"
    assert lines.lost == {}
    folder = tmp_path / "again"
    folder.mkdir()
    async with open_sink(folder, url=fluent.url("/"), framing="json") as here:
        ids = here.put()
        await here.ship()
    until(lambda: len([*fluent.events()]) >= FORKS, "all is written")
    assert [event["message"]["id"] for event in fluent.events()] == ids


@pytest.mark.parametrize(
    ("kind", "sink"),
    [("splunk", "splunk_hec"), ("elasticsearch", "elasticsearch"), ("opentelemetry", "otlp")],
)
async def test_a_path_that_fluent_bit_does_not_know_is_held(
    kind: str, sink: str, tenzir: Callable[[str], Tenzir], tmp_path: Path
) -> None:
    """It responds 400 there, too."""
    fluent = tenzir(f'from_fluent_bit "{kind}", options={{listen: "127.0.0.1", port: PORT}}')
    async with open_sink(tmp_path, url=fluent.url("/elsewhere"), protocol=sink) as here:
        here.put()
        async with here.running():
            await awaited(lambda: here.states)
    assert here.states[0].startswith("hold: 400 error: invalid ")
    assert here.lost == {}
