"""Server-sent events, however the network splits them."""

import pytest

from cli.client.sse import MAX_EVENT, ServerEvent, ServerEvents, TooLong

STREAM = (
    b'retry: 2000\n\nid: 41\n\n:\n\nevent: fork\ndata: {"a":\ndata: 1}\n\nid: 42\n\n'
    b"event: lost\r\ndata:{}\r\n\r\ndata: \xc3\xa9\r\revent: none\n\n:heartbeat\n\ndata: cut o"
)
EVENTS = [ServerEvent("fork", '{"a":\n1}'), ServerEvent("lost", "{}"), ServerEvent("message", "é")]


def test_the_events_are_the_same_wherever_the_stream_is_split():
    for cut in range(len(STREAM) + 1):
        events = ServerEvents()
        assert events.feed(STREAM[:cut]) + events.feed(STREAM[cut:]) == EVENTS, cut
        assert events.last_id == "42"
    events = ServerEvents()
    assert [event for place in range(len(STREAM)) for event in events.feed(STREAM[place : place + 1])] == EVENTS


def test_an_id_is_used_when_its_event_is_complete_and_printable():
    events = ServerEvents()
    events.feed(b"id: 7\n\nid: 8\n")
    assert events.last_id == "7"
    events.feed(b"\nid: 9\x01\n\n")
    assert events.last_id == "8"


@pytest.mark.parametrize("piece", [b"data: " + b"x" * 65536, b"data: x\n" * 8192])
def test_an_endless_event_is_refused(piece):
    events = ServerEvents()
    with pytest.raises(TooLong):
        for _ in range(MAX_EVENT // 8192):
            events.feed(piece)


def test_a_long_stream_of_short_events_is_accepted():
    events = ServerEvents()
    assert sum(len(events.feed(b"data: x\n\n" * 4096)) for _ in range(MAX_EVENT // 8192)) == MAX_EVENT // 2
