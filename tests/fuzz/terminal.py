"""What answers the command as a collector: events of a stream, JSON of any shape, errors."""

import orjson

from cli.client.errors import CommandError
from cli.client.failures import response_error
from cli.client.json_view import JsonView
from cli.client.sse import MAX_EVENT, ServerEvents, TooLong
from cli.text.fork_line import fork_line
from cli.text.tree_lines import heading
from tests.fuzz.recorded import EVENTS
from wire import names, times

COVERS = ["cli.client.sse", "cli.client.json_view", "cli.client.failures", "cli.text.*", "wire.names", "wire.times"]
TREE = {"processes": 2, "depth": 2, "fan_out": 1, "from": "2026-11-22T19:48:30Z", "to": "2026-11-22T19:49:30Z", "roots": []}
SEEDS = [
    b"event: fork\nid: 42\ndata: " + EVENTS[0] + b"\n\n: comment\n\ndata: a\r\ndata: b\r\n\r\n",
    *EVENTS, b'{"error": "no such pod"}', orjson.dumps(TREE),
]  # fmt: skip


def check(data):
    body, events = bytes(data), ServerEvents()
    try:
        whole = events.feed(body)
        events = ServerEvents()
        pieces = [event for at in range(0, len(body), 7) for event in events.feed(body[at : at + 7])]
    except TooLong:
        assert len(body) > MAX_EVENT
        return
    assert pieces == whole
    assert sum(len(event.data.encode()) for event in whole) <= 3 * len(body)  # a byte that is not UTF-8 becomes three
    assert events.last_id.isprintable()
    for status in (400, 401, 404, 429, 500):
        error = response_error(status, {"Retry-After": body[:20].decode("latin-1")}, body, "https://collector", token=True)
        assert isinstance(error, CommandError) and str(error).isprintable() and len(str(error)) < 4000
    for text in [body, *(event.data for event in whole)]:
        try:
            view = JsonView(orjson.loads(text))
        except ValueError:
            continue
        assert all(piece.text.isprintable() for piece in (*fork_line(view), *heading(view)))
        assert names.visible(view["comm"].text).isprintable() and times.clock(view["timestamp"].text).isprintable()
