"""Every response of OTLP over HTTP, in front of a receiver: only what the specification allows is repeated.

The official collector's text for a body that is too large is as observed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsPartialSuccess, ExportLogsServiceResponse

from tests.faults import Forward, Say

from .documents import of_otlp
from .processes import Tenzir, until
from .response_rows import ACCEPTED, FORKS, HOLD, REJECTED, RETRY, SPLIT, Row, connection_rows, named, prove, respond
from .sink_scene import SinkScene, open_sink
from .sink_scene import until as awaited

pytestmark = [pytest.mark.receivers, pytest.mark.timeout(60)]
PROTOBUF = "application/x-protobuf"
END = (
    b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"attributes":'
    b'[{"key":"log.record.uid","value":{"stringValue":"%s"}}]}]}]}]}'
)


def partial(rejected: int, words: str = "") -> Say:
    response = ExportLogsServiceResponse(
        partial_success=ExportLogsPartialSuccess(rejected_log_records=rejected, error_message=words)
    )
    return respond(200, response.SerializeToString(), Content_Type=PROTOBUF)


def forward_with(body: object) -> Forward:
    return Forward(say=respond(200, body))


ALL = {"rejected": FORKS}
ROWS = [
    Row("200", Forward(), ACCEPTED),
    Row("200, partial success that is empty", forward_with({"partialSuccess": {}}), ACCEPTED),
    Row("200, none rejected and a warning", Forward(say=partial(0, "old names")), ACCEPTED, words="warning: old names"),
    Row("200, two rejected", Forward(say=partial(2, "too old")), ACCEPTED, {"rejected": 2}, words="2 of 6 rejected: too old"),
    Row("200, two rejected, in JSON", forward_with({"partialSuccess": {"rejectedLogRecords": "2"}}), ACCEPTED, {"rejected": 2}),
    Row("200, all rejected", Forward(say=partial(FORKS)), ACCEPTED, ALL),
    Row("200, more rejected than there were", Forward(say=partial(FORKS + 1)), ACCEPTED, ALL),
    Row("200 with a web page", respond(200, b"<html>", Content_Type="text/html"), HOLD, words="web page"),
    *(Row(f"{status}", Forward(say=respond(status)), ACCEPTED) for status in (201, 202, 204)),
    *(Row(f"{status}", respond(status), RETRY) for status in (429, 502, 503, 504)),
    *(Row(f"{status} with Retry-After", respond(status, Retry_After="1"), RETRY, pause_s=1.0) for status in (429, 503)),
    *(Row(f"{status}", respond(status), HOLD) for status in (301, 401, 403, 404, 405, 415)),
    *(
        Row(f"{status}, which must not be repeated", respond(status), REJECTED, ALL, range(FORKS))
        for status in (400, 422, 500, 501)
    ),
    *(Row(f"{status}", respond(status), SPLIT) for status in (408, 413)),
    Row("400, request body too large", respond(400, {"code": 3, "message": "http: request body too large"}), SPLIT),
    Row("503, its queue is full", respond(503, {"code": 14, "message": "sending queue is full"}), RETRY, words="queue is full"),
    *connection_rows(once=False),
]


def arrived_at(otlp: Tenzir) -> Callable[[SinkScene], Counter[str]]:
    def ids() -> list[str]:
        return [of_otlp(record)["log.record.uid"] for record in otlp.events()]

    def arrived(here: SinkScene) -> Counter[str]:
        end = f"{here.stream} end"
        otlp.request("/v1/logs", END % end.encode(), {"Content-Type": "application/json"})
        until(lambda: end in ids(), "all is written")
        return Counter(one for one in ids() if one.startswith(f"{here.stream}."))

    return arrived


@pytest.mark.parametrize(**named(ROWS))
async def test_row(row: Row, otlp: Tenzir, tmp_path: Path) -> None:
    await prove(row, otlp.address, arrived_at(otlp), tmp_path, protocol="otlp")


@pytest.mark.parametrize("compression", ["none", "gzip"])
async def test_the_receiver_reads_compressed_and_plain_bodies(compression: str, otlp: Tenzir, tmp_path: Path) -> None:
    async with open_sink(tmp_path, url=otlp.url(""), protocol="otlp", compression=compression) as here:
        ids = here.put()
        await here.ship()
    assert arrived_at(otlp)(here) == dict.fromkeys(ids, 1)


async def test_an_unsupported_compression_is_held(otlp: Tenzir, tmp_path: Path) -> None:
    async with open_sink(tmp_path, url=otlp.url(""), protocol="otlp", compression="zstd") as here:
        here.put()
        async with here.running():
            await awaited(lambda: here.states)
    assert here.states[0].startswith("hold: 415")
    assert here.lost == {}


async def test_a_too_large_body_is_split_until_each_part_is_accepted(otlp: Tenzir, tmp_path: Path) -> None:
    async with open_sink(tmp_path, url=otlp.url(""), protocol="otlp") as here:
        ids = here.put(200)
        await here.ship()
    assert here.lost == {}
    assert here.sender.responses["413"] >= 1
    assert arrived_at(otlp)(here) == dict.fromkeys(ids, 1)


async def test_only_a_too_large_record_is_lost(otlp: Tenzir, tmp_path: Path) -> None:
    async with open_sink(tmp_path, url=otlp.url(""), protocol="otlp") as here:
        ids = here.put(4, comms=["sh", "x" * 70_000])
        await here.ship()
    assert here.lost == {"too_large": 1}
    assert arrived_at(otlp)(here) == {name: 1 for name in ids if name != ids[1]}


async def test_another_path_is_held(otlp: Tenzir, tmp_path: Path) -> None:
    async with open_sink(tmp_path, url=otlp.url("/v1/metrics"), protocol="otlp") as here:
        here.put()
        async with here.running():
            await awaited(lambda: here.states)
    assert here.states[0].startswith("hold: 404")
    assert here.lost == {}
