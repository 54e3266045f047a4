"""Every code of the HTTP Event Collector, in front of one: what is sent again, held, split and rejected, and what it has in the
end. Tenzir's own responses come last.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults import FaultProxy, Forward

from .conftest import TOKEN
from .processes import Tenzir, until
from .response_rows import ACCEPTED, FORKS, HOLD, REJECTED, RETRY, SPLIT, Row, connection_rows, named, prove, respond
from .sink_scene import SinkScene, open_sink
from .sink_scene import until as awaited

pytestmark = [pytest.mark.receivers, pytest.mark.timeout(60)]

TEXTS = {
    0: "Success", 1: "Token disabled", 2: "Token is required", 3: "Invalid authorization", 4: "Invalid token", 5: "No data",
    6: "Invalid data format", 7: "Incorrect index", 8: "Internal server error", 9: "Server is busy",
    10: "Data channel is missing", 11: "Invalid data channel", 12: "Event field is required",
    13: "Event field cannot be blank", 14: "ACK is disabled", 15: "Error in handling indexed fields",
    16: "Query string authorization is not enabled", 18: "HEC is unhealthy, queues are full",
    19: "HEC is unhealthy, ack service unavailable", 20: "HEC is unhealthy, queues are full, ack service unavailable",
    21: "Invalid token", 22: "Token disabled", 23: "Server is shutting down",
    24: "Queue is approaching capacity", 25: "ACK channel is approaching capacity", 26: "Queue at capacity",
    27: "ACK channel at capacity",
}  # fmt: skip
RETRIED = {8: 500, 9: 503, 18: 503, 19: 503, 20: 503, 23: 503, 26: 429, 27: 429}
HELD = {1: 403, 2: 401, 3: 401, 4: 403, 7: 400, 10: 400, 11: 400, 14: 400, 16: 400, 21: 400, 22: 400}
DATA = (5, 6, 12, 13, 15)


def code(number: int) -> dict[str, object]:
    return {"text": TEXTS[number], "code": number}


def words(number: int) -> str:
    return f"code {number}, {TEXTS[number]}"


ROWS = [
    Row("0: accepted", Forward(), ACCEPTED, words="200 code 0"),
    *(Row(f"{one}: {TEXTS[one]}", respond(status, code(one)), RETRY, words=words(one)) for one, status in RETRIED.items()),
    *(Row(f"{one}: {TEXTS[one]}", respond(status, code(one)), HOLD, words=words(one)) for one, status in HELD.items()),
    *(
        Row(f"{one}: {TEXTS[one]}", respond(400, code(one)), REJECTED, {"rejected": FORKS}, range(FORKS), words=words(one))
        for one in DATA
    ),
    *(
        Row(
            f"{one}: {TEXTS[one]}, event 2",
            respond(400, code(one) | {"invalid-event-number": 2}),
            ACCEPTED,
            {"rejected": 1},
            [2],
            again=True,
        )
        for one in (6, 12, 13, 15)
    ),
    Row(
        "6: Invalid data format, event 5, and those before it were indexed",
        Forward(say=respond(400, code(6) | {"invalid-event-number": 5})),
        ACCEPTED,
        {"rejected": 1},
        twice=range(5),
        again=True,
    ),
    *(Row(f"{one}: {TEXTS[one]}", Forward(say=respond(200, code(one))), ACCEPTED, words=words(one)) for one in (24, 25)),
    Row("413", respond(413, b"too large"), SPLIT),
    Row("9 with Retry-After", respond(503, code(9), Retry_After="1"), RETRY, pause_s=1.0),
    *(Row(f"{status} without a code", respond(status), RETRY) for status in (408, 429, 500, 502, 503, 504)),
    *(Row(f"{status} without a code", respond(status), HOLD) for status in (401, 403, 404, 405, 302)),
    Row("404 of another URL of Splunk's", respond(404, {"text": "The requested URL was not found", "code": 404}), HOLD),
    Row("404 with the code of wrong data", respond(404, code(6)), HOLD, words=words(6)),
    Row("400 without a code", respond(400, b"no"), REJECTED, {"rejected": FORKS}, range(FORKS)),
    Row("200 with a web page", respond(200, b"<html>Sign in</html>", Content_Type="text/html"), HOLD, words="web page"),
    *connection_rows(once=False),
]


def ids_at(hec: Tenzir) -> list[str]:
    """The ids of what was written; events of other schemas, which other tests send here, have theirs elsewhere."""
    return [event["event"]["id"] for event in hec.events() if "id" in event["event"]]


def arrived_at(hec: Tenzir) -> Callable[[SinkScene], Counter[str]]:
    def arrived(here: SinkScene) -> Counter[str]:
        end = b'{"event":{"id":"%s end"}}' % here.stream.encode()
        hec.request("/services/collector", end, {"Authorization": f"Splunk {TOKEN}"})
        until(lambda: f"{here.stream} end" in ids_at(hec), "all is written")
        return Counter(one for one in ids_at(hec) if one.startswith(f"{here.stream}."))

    return arrived


@pytest.fixture
def token(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    return file


def write(file: Path, text: str) -> None:
    file.write_text(text)


def hec_sink(token: Path, **more: object) -> dict[str, object]:
    return {"protocol": "splunk_hec", "token_file": str(token), **more}


def test_every_code_is_in_the_table() -> None:
    assert {int(row.name.partition(":")[0]) for row in ROWS if ": " in row.name} == {*TEXTS}


@pytest.mark.parametrize(**named(ROWS))
async def test_row(row: Row, hec: Tenzir, token: Path, tmp_path: Path) -> None:
    await prove(row, hec.address, arrived_at(hec), tmp_path, **hec_sink(token))


async def test_a_nearly_full_queue_gets_a_pause(hec: Tenzir, token: Path, tmp_path: Path) -> None:
    with FaultProxy(hec.address) as proxy:
        proxy.play(*(Forward(say=respond(200, code(number))) for number in (24, 25)))
        async with open_sink(tmp_path, url=proxy.url(""), **hec_sink(token)) as here:
            for _ in range(3):
                here.put()
            await here.ship()
        first, second, third = (request.time for request in proxy.requests)
    assert (second - first >= 2.0, third - second >= 2.0) == (True, True)
    assert here.delivered == 3 * FORKS


# Tenzir's own responses.


@pytest.mark.parametrize(
    ("given", "state"),
    [
        ("0a1b2c3d", "hold: 403 code 4, Invalid token: no such token: is token_file this Splunk's?"),
        (None, "hold: 401 code 2, Token is required: no token was sent: set token_file"),
    ],
)
async def test_a_wrong_or_missing_token_holds_until_it_is_replaced(
    given: str | None, state: str, hec: Tenzir, token: Path, tmp_path: Path
) -> None:
    write(token, given or "")
    sink = hec_sink(token) if given else {"protocol": "splunk_hec"}
    async with open_sink(tmp_path, url=hec.url(""), **sink) as here:
        ids = here.put()
        async with here.running(pause_s=30.0):
            await awaited(lambda: here.states)
            assert here.states == [state]
            if given:
                write(token, TOKEN)  # which is noticed within a second, though the pause is 30 s
                await here.queue.empty()
    assert arrived_at(hec)(here) == (dict.fromkeys(ids, 1) if given else {})
    assert here.delivered == (FORKS if given else 0)


async def test_an_unsupported_scheme_is_held(hec: Tenzir, token: Path, tmp_path: Path) -> None:
    async with open_sink(tmp_path, url=hec.url(""), **hec_sink(token, auth="bearer")) as here:
        here.put()
        async with here.running():
            await awaited(lambda: here.states)
    assert here.states[0].startswith("hold: 401 code 3, Invalid authorization: ")
    assert "Bearer" in here.states[0]


async def test_another_path_is_held(hec: Tenzir, token: Path, tmp_path: Path) -> None:
    async with open_sink(tmp_path, url=hec.url("/elsewhere"), **hec_sink(token)) as here:
        here.put()
        async with here.running():
            await awaited(lambda: here.states)
    assert here.states[0].startswith("hold: 404")
    assert here.lost == {}


async def test_a_token_that_requires_acknowledgements_is_held(
    tenzir: Callable[[str], Tenzir], token: Path, tmp_path: Path
) -> None:
    wants = tenzir(f'accept_splunk "127.0.0.1:PORT", hec_token="{TOKEN}", ack=true')
    async with open_sink(tmp_path, url=wants.url(""), **hec_sink(token)) as here:
        here.put()
        async with here.running():
            await awaited(lambda: here.states)
    assert here.states[0].startswith("hold: 400 code 10, Data channel is missing: ")
    assert here.lost == {}


async def test_a_too_large_body_is_split_until_each_part_is_accepted(hec: Tenzir, token: Path, tmp_path: Path) -> None:
    async with open_sink(tmp_path, url=hec.url(""), **hec_sink(token)) as here:
        ids = here.put(40)
        await here.ship()
    assert here.lost == {}
    assert here.sender.responses["413"] >= 3
    assert arrived_at(hec)(here) == dict.fromkeys(ids, 1)


async def test_only_a_too_large_event_is_lost(hec: Tenzir, token: Path, tmp_path: Path) -> None:
    async with open_sink(tmp_path, url=hec.url(""), **hec_sink(token)) as here:
        ids = here.put(4, comms=["sh", "x" * 20_000])
        await here.ship()
    assert here.lost == {"too_large": 1}
    assert arrived_at(hec)(here) == {name: 1 for name in ids if name != ids[1]}


async def test_nothing_is_lost_while_a_receiver_is_busy(tenzir: Callable[[str], Tenzir], token: Path, tmp_path: Path) -> None:
    """Two batches fill it, since their acknowledgements are not requested; after a restart it accepts two again."""
    busy = tenzir(f'accept_splunk "127.0.0.1:PORT", hec_token="{TOKEN}", ack=true, max_pending_acks=2')
    sink = hec_sink(token, headers={"X-Splunk-Request-Channel": TOKEN})
    with FaultProxy(busy.address) as proxy:
        async with open_sink(tmp_path, url=proxy.url(""), **sink) as here:
            ids = [name for _ in range(4) for name in here.put(3)]
            async with here.running():
                await awaited(lambda: here.sender.responses.get("503", 0) >= 3)
                assert here.delivered == 6
                assert {*here.states} == {"retry: 503 code 9, Server is busy"}
                until(lambda: len([*busy.events()]) == 6, "the accepted batches are written")
                proxy.away()
                busy.stop()
                busy.start()
                proxy.back()
                await here.queue.empty()
    assert here.lost == {}
    assert here.delivered == 12
    until(lambda: len([*busy.events()]) >= 12, "the rest is written")
    assert Counter(event["event"]["id"] for event in busy.events()) == Counter(ids)
