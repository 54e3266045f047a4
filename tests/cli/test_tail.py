"""`forklore tail`: forks as they arrive, each once; every interruption is reported."""

import asyncio
import signal
import sys

import orjson
import pytest

from cli.client.json_view import JsonView
from cli.text.fork_line import fork_line
from cli.text.pieces import Paint, plain

from .answers import EXAMPLES, HOSTILE, fork
from .fake_collector import event
from .processes import is_harmless, run_forklore, start_forklore

pytestmark = pytest.mark.slow

STREAM, FORKS = "/v1/stream", "/v1/forks"


def line_of(fork_event):
    return plain(fork_line(JsonView(fork_event)))


def events(*numbers, mark=None):
    return b"".join(event("fork", fork(number)) for number in numbers) + (b"" if mark is None else b"id: %d\n\n" % mark)


class Tail:
    """The output of a running `forklore tail`."""

    def __init__(self, process):
        self.process = process

    async def lines(self, count):
        return [(await self.process.stdout.readline()).decode().rstrip("\n") for _ in range(count)]

    async def errors(self, count):
        return [(await self.process.stderr.readline()).decode().rstrip("\n") for _ in range(count)]


def test_a_fork_is_one_line():
    assert line_of(fork(1, comm="cron", parent_comm="sh")) == ("19:48:30.118 node1 shop/cart-1 app  sh 6039/1 -> cron 7001/101")
    assert line_of(fork(1)).endswith("  sh 6039/1 -> 7001/101")
    assert line_of(fork(1, clone=["VFORK", "VM"])).endswith("-> 7001/101  VFORK VM")
    assert line_of(fork(1, clone=None, enrichment={"state": "late", "by": "status", "lag_ms": 800})).endswith(
        "-> 7001/101  late"
    )
    thread = fork(1, kind="thread", child_tid=7009, child_ns_tid=109, clone=["VM", "THREAD"])
    assert line_of(thread).endswith("-> 7009/109  thread")


def test_a_line_names_pod_and_container_by_what_is_known():
    no_pod = dict.fromkeys(EXAMPLES[0]["k8s"]) | {"cluster": "demo", "node": "node1"}
    host = fork(1, container=None, k8s=no_pod, parent_ns_pid=6039, child_ns_pid=7001)
    assert line_of(host) == "19:48:30.118 node1 outside pods  sh 6039 -> 7001"
    bare = EXAMPLES[0]["container"] | {"name": None}
    unresolved = fork(1, container=bare, k8s=no_pod | {"pod_uid": "a87d9c0e"}, enrichment={"state": "unresolved"})
    assert line_of(unresolved) == "19:48:30.118 node1 a87d9c0e 7b6807e75ae5  sh 6039/1 -> 7001/101  unresolved"
    assert line_of(fork(1, parent_pid=None, child_ns_pid=None)).endswith("sh – -> 7001/–")  # noqa: RUF001


def test_a_name_with_spaces_is_quoted():
    assert line_of(fork(1, comm='x 1/1 -> "y')).endswith('  "x 1/1 -> \\"y" 6039/1 -> 7001/101')
    assert line_of(fork(1, comm="")).endswith('  "" 6039/1 -> 7001/101')


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_escaped(name):
    hostile = fork(1, comm=name, parent_comm=f"{name}2", pod=name, namespace=name, clone=[name], timestamp=name)
    hostile["k8s"]["node"] = hostile["container"]["name"] = name
    assert line_of(hostile).isprintable()
    assert is_harmless(Paint(coloured=True)(fork_line(JsonView(hostile))))


def test_colours_are_complete_and_optional():
    pieces = fork_line(JsonView(fork(1)))
    assert Paint(coloured=True)(pieces).count("\x1b[0m") * 2 == Paint(coloured=True)(pieces).count("\x1b[")
    assert Paint(coloured=False)(pieces) == plain(pieces)


async def test_forks_are_printed_as_they_arrive(collector):
    collector.streams.append([b"retry: 2000\n\nid: 41\n\n", event("pods", {"now": "x"}), events(1, 2, mark=42), None])
    async with start_forklore(collector, "tail", "--namespace", "shop", "--label", "app=cart", "--comm", "sh") as process:
        assert await Tail(process).lines(2) == [line_of(fork(1)), line_of(fork(2))]
    (request,) = collector.requests
    assert sorted(request.query) == [("comm", "sh"), ("label", "app=cart"), ("namespace", "shop")]
    assert request.headers["Accept"] == "text/event-stream" and "Last-Event-ID" not in request.headers


@pytest.mark.parametrize("name", HOSTILE)
async def test_with_json_each_line_is_an_event(collector, name):
    sent = [fork(1, comm=name, pod=name), fork(2)]
    collector.streams.append([event("fork", sent[0]), event("fork", sent[1]), None])
    async with start_forklore(collector, "tail", "-o", "json") as process:
        lines = await Tail(process).lines(2)
    assert [orjson.loads(one) for one in lines] == sent
    assert all(map(is_harmless, lines))


async def test_history_comes_first_in_order_of_time_and_each_fork_once(collector):
    pages = {None: {"forks": [fork(5), fork(4)], "next": "there"}, "there": {"forks": [fork(3)], "next": None}}
    collector.streams.append([b"id: 41\n\n", events(4, 5, 6, mark=42), None])
    collector.answers[FORKS] = lambda request: pages[request.query.get("after")]
    async with start_forklore(collector, "tail", "--since", "-15m", "--node", "node1") as process:
        assert await Tail(process).lines(4) == [line_of(fork(number)) for number in (3, 4, 5, 6)]
    assert [request.path for request in collector.requests] == [
        STREAM,
        FORKS,
        FORKS,
    ]
    assert dict(collector.requests[1].query) == {"node": "node1", "from": "-15m", "limit": "1000"}


async def test_it_reconnects_where_it_was(collector):
    collector.streams.append([b"id: 41\n\n", events(1, mark=42)])
    collector.streams.append([events(1, 2, mark=43)])
    collector.streams.append([b"id: 44\n\n"])
    collector.streams.append([events(3), None])
    async with start_forklore(collector, "tail") as process:
        tail = Tail(process)
        assert await tail.lines(3) == [line_of(fork(number)) for number in (1, 2, 3)]
        errors = await tail.errors(2)
    assert errors[0] == "forklore tail: the collector ended the stream; trying again in 0 s"
    assert errors[1] == f"forklore tail: {collector.url} is connected again after 0 s"
    assert [request.headers.get("Last-Event-ID") for request in collector.requests] == [None, "42", "43", "44"]


async def test_it_waits_for_a_collector_that_does_not_answer(collector):
    collector.streams.append([events(1, mark=42)])
    failures = iter([(503, {"error": "the store does not answer"}), (429, {"error": "too many"})])

    def unavailable_twice(_request):
        try:
            return next(failures)
        except StopIteration:
            collector.streams.append([events(2, mark=43), None])
            return (500, {})

    collector.answers[STREAM] = unavailable_twice
    async with start_forklore(collector, "tail") as process:
        tail = Tail(process)
        assert await tail.lines(2) == [line_of(fork(1)), line_of(fork(2))]
        errors = await tail.errors(4)
    assert "503: the store does not answer" in errors[1] and "429: too many" in errors[2]


async def test_lost_forks_are_reported_at_their_place(collector):
    pieces = [
        events(1),
        event("lost", {"forks": 1214, "more": False}),
        events(2),
        event("lost", {"forks": 9, "more": True}),
        None,
    ]
    collector.streams += [pieces, pieces]
    async with start_forklore(collector, "tail") as process:
        lines = await Tail(process).lines(4)
    assert lines[1] == "--- 1,214 forks are not shown: this reader was too slow ---"
    assert (lines[0], lines[2]) == (line_of(fork(1)), line_of(fork(2))) and "over 9 forks" in lines[3]
    async with start_forklore(collector, "tail", "-o", "json") as process:
        lines = [orjson.loads(one) for one in await Tail(process).lines(4)]
    assert lines[1] == {"event": "lost", "forks": 1214, "more": False}


async def test_an_interruption_of_unknown_length_is_reported(collector):
    collector.streams += [[events(1)], [events(2), None]]  # no ids: this collector can't resume a stream
    async with start_forklore(collector, "tail") as process:
        lines = await Tail(process).lines(3)
    assert lines[1] == "--- an unknown number of forks are not shown: the collector did not answer ---"


@pytest.mark.parametrize(
    ("answer", "code", "text"),
    [
        ((401, {"error": "a token is wanted"}), 77, "--token-file"),
        ((404, {"error": "Not Found"}), 76, "older one"),
        ((400, {"error": "entity: 'x' is not 16 hex digits"}), 2, "16 hex digits"),
        ({"forks": []}, 76, "not answer with a stream"),
        ((503, {"error": "stopping"}), 69, "stopping"),
    ],
)
async def test_an_error_at_the_first_try_ends_it(collector, forklore, answer, code, text):
    collector.answers[STREAM] = answer
    result = await forklore("tail", "--entity", "x")
    assert (result.code, result.out) == (code, "") and text in result.err


async def test_a_token_that_is_revoked_later_ends_it(collector):
    collector.streams.append([events(1, mark=42)])
    collector.answers[STREAM] = (401, {"error": "a token is wanted"})
    result = await run_forklore(collector, "tail")
    assert result.code == 77 and result.lines == [line_of(fork(1))]


async def test_invalid_events_are_skipped(collector):
    collector.streams.append(
        [b"event: fork\ndata: {cut\n\n", event("fork", 7), event("fork", []), event("lost", None), events(1), None]
    )
    async with start_forklore(collector, "tail") as process:
        lines = await Tail(process).lines(5)
    assert lines[-1] == line_of(fork(1)) and all(map(is_harmless, lines))


async def test_ctrl_c_ends_it_without_output(collector):
    collector.streams.append([events(1), None])
    async with start_forklore(collector, "tail") as process:
        await Tail(process).lines(1)
        process.send_signal(signal.SIGINT)
        assert await process.stderr.read() == b""
        assert await process.wait() == -signal.SIGINT


async def test_a_closed_output_ends_it_quietly(collector):
    collector.streams.append([events(1), *(events(*range(number, number + 50)) for number in range(2, 5000, 50)), None])
    async with start_forklore(collector, "tail") as process:
        await Tail(process).lines(1)
        process.stdout._transport.close()
        assert (await process.wait(), await process.stderr.read()) == (0, b"")


async def test_it_loads_neither_textual_nor_the_other_packages():
    code = "import sys, cli.tail, cli.tree, cli.top; print({name.partition('.')[0] for name in sys.modules})"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    loaded = out.decode()
    assert "'cli'" in loaded and "'wire'" in loaded
    assert not any(f"'{name}'" in loaded for name in ("textual", "rich", "agent", "collector", "pydantic", "jinja2"))
