"""Every response to `_bulk`, in front of an OpenSearch in memory: of the whole request, and item by item. Its own responses
(201, 409, 400) come last.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults import FaultProxy, Forward, Reset

from .processes import Osmem
from .response_rows import ACCEPTED, FORKS, HOLD, REJECTED, RETRY, SPLIT, Row, connection_rows, named, prove, respond
from .sink_scene import SinkScene, open_sink
from .sink_scene import until as awaited

pytestmark = [pytest.mark.receivers, pytest.mark.timeout(60)]
TYPES = {
    400: "document_parsing_exception",
    403: "security_exception",
    404: "index_not_found_exception",
    408: "timeout_exception",
    409: "version_conflict_engine_exception",
    413: "content_too_large",
    429: "es_rejected_execution_exception",
    500: "internal_error",
    503: "unavailable_shards_exception",
}


def items(*statuses: int) -> dict[str, object]:
    """A response to `_bulk`, as `filter_path` leaves it."""
    results = [{"create": {"status": one, **({"error": {"type": TYPES[one]}} if one in TYPES else {})}} for one in statuses]
    return {"errors": any(one in TYPES for one in statuses), "items": results}


def of_index(kind: str) -> dict[str, object]:
    """A 400 of every item because of the index."""
    return {"errors": True, "items": [{"create": {"status": 400, "error": {"type": kind}}}] * FORKS}


def refusal(kind: str) -> dict[str, object]:
    return {"error": {"type": kind, "reason": "no"}, "status": 0}


def two_of(status: int) -> Forward:
    """Forwards all, and responds for two of them with this status."""
    return Forward(say=respond(200, items(*(status if place in (1, 4) else 201 for place in range(FORKS)))))


ROWS = [
    Row("201 of every item", Forward(), ACCEPTED, words="6 accepted"),
    Row("no errors, and no items", Forward(say=respond(200, {"errors": False})), ACCEPTED, words="6 accepted"),
    Row("409 of every item", Forward(say=respond(200, items(*[409] * FORKS))), ACCEPTED, words="6 accepted"),
    # Of the whole request.
    *(Row(f"{status}", respond(status, refusal("busy")), RETRY, words="busy: no") for status in (408, 429, 500, 502, 503, 504)),
    Row("429 with Retry-After", respond(429, refusal("busy"), Retry_After="1"), RETRY, pause_s=1.0),
    *(Row(f"{status}", respond(status, refusal("security_exception")), HOLD) for status in (401, 403, 405, 410, 415)),
    Row("404", respond(404, refusal("index_not_found_exception")), HOLD, words="index_not_found_exception"),
    Row("302", respond(302, Location="/login"), HOLD),
    Row("413", respond(413), SPLIT),
    Row("400", respond(400, refusal("illegal_argument_exception")), REJECTED, {"rejected": FORKS}, range(FORKS)),
    Row("200 with a web page", respond(200, b"<html>"), HOLD, words="not a response to _bulk"),
    Row("200 with fewer items", respond(200, items(201, 201)), HOLD, words="2 items to 6 documents"),
    # Item by item.
    *(
        Row(
            f"{status} of two items",
            two_of(status),
            ACCEPTED,
            again=True,
            words="2 to be sent again",
        )
        for status in (401, 403, 404, 408, 429, 500, 503)
    ),
    Row("429 of every item", respond(200, items(*[429] * FORKS)), RETRY, words="6 to be sent again"),
    *(Row(f"{status} of two items", two_of(status), ACCEPTED, {"rejected": 2}, words="2 rejected") for status in (400, 413)),
    *(
        Row(f"{status} of every item", respond(200, items(*[status] * FORKS)), HOLD, words="the index or the key")
        for status in (403, 404)
    ),
    *(
        Row(f"400 of every item, {kind}", respond(200, of_index(kind)), HOLD, words="the index or the key")
        for kind in ("index_closed_exception", "invalid_index_name_exception")
    ),
    Row(
        "400 of every item",
        respond(200, items(*[400] * FORKS)),
        ACCEPTED,
        {"rejected": FORKS},
        range(FORKS),
        words="6 rejected",
    ),
    Row(
        "a 429, a 400 and a 409",
        Forward(say=respond(200, items(201, 429, 400, 409, 201, 201))),
        ACCEPTED,
        {"rejected": 1},
        again=True,
    ),
    *connection_rows(once=True),
]


def arrived_at(osmem: Osmem, index: str) -> Callable[[SinkScene], Counter[str]]:
    return lambda here: Counter(name for name in osmem.documents(index) if name.startswith(here.stream))


@pytest.fixture
def index() -> str:
    return f"table-{secrets.token_hex(6)}"


def bulk_sink(index: str, **more: object) -> dict[str, object]:
    return {"protocol": "elasticsearch", "index": index, **more}


@pytest.mark.parametrize(**named(ROWS))
async def test_row(row: Row, osmem: Osmem, index: str, tmp_path: Path) -> None:
    await prove(row, osmem.address, arrived_at(osmem, index), tmp_path, **bulk_sink(index))


async def test_a_repeated_batch_is_stored_once_and_its_conflicts_are_deliveries(
    osmem: Osmem, index: str, tmp_path: Path
) -> None:
    with FaultProxy(osmem.address) as proxy:
        proxy.play(Reset("forwarded"))
        async with open_sink(tmp_path, url=proxy.url(""), **bulk_sink(index)) as here:
            ids = here.put()
            await here.ship()
    assert (here.delivered, here.lost) == (FORKS, {})
    assert here.sender.state.startswith("accepted: 200 6 accepted, 0 rejected, 0 to be sent again")
    assert {*osmem.documents(index)} == {*ids}
    assert {osmem.ask(f"/{index}/_doc/{name}")["_version"] for name in ids} == {1}  # nothing was written twice


async def test_only_the_document_that_the_mapping_rejects_is_lost(osmem: Osmem, index: str, tmp_path: Path) -> None:
    """The index has numbers where the documents have names, so the two that look like numbers are accepted."""
    osmem.ask(f"/{index}", {"mappings": {"properties": {"process": {"properties": {"name": {"type": "long"}}}}}}, "PUT")
    async with open_sink(tmp_path, url=osmem.url(""), **bulk_sink(index)) as here:
        ids = here.put(3, comms=["7", "sh", "9"])
        await here.ship()
    assert here.lost == {"rejected": 1}
    assert here.sender.state.startswith("accepted: 200 2 accepted, 1 rejected, 0 to be sent again: ")
    assert {*osmem.documents(index)} == {ids[0], ids[2]}


async def test_a_strict_mapping_that_rejects_every_document_is_held(osmem: Osmem, index: str, tmp_path: Path) -> None:
    osmem.ask(f"/{index}", {"mappings": {"dynamic": "strict", "properties": {"@timestamp": {"type": "date"}}}}, "PUT")
    async with open_sink(tmp_path, url=osmem.url(""), **bulk_sink(index)) as here:
        here.put()
        async with here.running(pause_s=0.1):
            await awaited(lambda: here.states)
            osmem.ask(f"/{index}/_mapping", {"dynamic": "true"}, "PUT")
            await here.queue.empty()
    assert here.states[0].startswith("hold: ")
    assert "strict_dynamic_mapping_exception" in here.states[0]
    assert (here.delivered, here.lost) == (FORKS, {})


async def test_a_path_that_is_not_bulk_is_held(osmem: Osmem, index: str, tmp_path: Path) -> None:
    async with open_sink(tmp_path, url=osmem.url(f"/{index}/_elsewhere"), **bulk_sink(index)) as here:
        here.put()
        async with here.running():
            await awaited(lambda: here.states)
    assert here.states[0].startswith("hold: ")
    assert here.lost == {}


async def test_an_unsupported_data_stream_is_named(osmem: Osmem, tmp_path: Path) -> None:
    """osmem accepts templates of data streams, but no documents for them."""
    name = f"logs-forklore.{secrets.token_hex(4)}-default"
    osmem.ask("/_index_template/forklore-stream", {"index_patterns": [name], "data_stream": {}, "priority": 500}, "PUT")
    async with open_sink(tmp_path, url=osmem.url(""), protocol="elasticsearch", data_stream=name) as here:
        here.put()
        async with here.running():
            await awaited(lambda: here.states or here.lost)
    assert "not supported" in here.sender.state or "exception" in here.sender.state
