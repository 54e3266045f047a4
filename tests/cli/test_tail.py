"""`forklore tail`: forks as they come, each once, and whatever breaks is said."""

import asyncio
import signal
import sys

import orjson
import pytest

from cli.client.json_view import Said
from cli.text.fork_line import compact
from cli.text.pieces import Paint, plain

from .answers import EXAMPLES, HOSTILE, fork
from .running import harmless, ran, started
from .standing_in import event

pytestmark = pytest.mark.slow

STREAM, FORKS = "/v1/stream", "/v1/forks"


def line(told):
    return plain(compact(Said(told)))


def events(*numbers, mark=None):
    return b"".join(event("fork", fork(number)) for number in numbers) + (b"" if mark is None else b"id: %d\n\n" % mark)


class Tail:
    """A running `forklore tail`."""

    def __init__(self, process):
        self.process = process

    async def lines(self, count):
        return [(await self.process.stdout.readline()).decode().rstrip("\n") for _ in range(count)]

    async def errors(self, count):
        return [(await self.process.stderr.readline()).decode().rstrip("\n") for _ in range(count)]


def test_a_fork_is_one_line():
    assert line(fork(1, comm="cron", parent_comm="sh")) == ("19:48:30.118 node1 shop/cart-1 app  sh 6039/1 -> cron 7001/101")
    assert line(fork(1)).endswith("  sh 6039/1 -> 7001/101")
    assert line(fork(1, clone=["VFORK", "VM"])).endswith("-> 7001/101  VFORK VM")
    assert line(fork(1, clone=None, enrichment={"state": "late", "by": "status", "lag_ms": 800})).endswith("-> 7001/101  late")
    thread = fork(1, kind="thread", child_tid=7009, child_ns_tid=109, clone=["VM", "THREAD"])
    assert line(thread).endswith("-> 7009/109  thread")


def test_whose_a_fork_is_is_said_by_the_best_names_there_are():
    nobody = dict.fromkeys(EXAMPLES[0]["k8s"]) | {"cluster": "demo", "node": "node1"}
    host = fork(1, container=None, k8s=nobody, parent_ns_pid=6039, child_ns_pid=7001)
    assert line(host) == "19:48:30.118 node1 outside pods  sh 6039 -> 7001"
    bare = EXAMPLES[0]["container"] | {"name": None}
    unresolved = fork(1, container=bare, k8s=nobody | {"pod_uid": "a87d9c0e"}, enrichment={"state": "unresolved"})
    assert line(unresolved) == "19:48:30.118 node1 a87d9c0e 7b6807e75ae5  sh 6039/1 -> 7001/101  unresolved"
    assert line(fork(1, parent_pid=None, child_ns_pid=None)).endswith("sh – -> 7001/–")  # noqa: RUF001


def test_a_name_with_spaces_cannot_pass_for_more_than_one():
    assert line(fork(1, comm='x 1/1 -> "y')).endswith('  "x 1/1 -> \\"y" 6039/1 -> 7001/101')
    assert line(fork(1, comm="")).endswith('  "" 6039/1 -> 7001/101')


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_act_on_nothing(name):
    told = fork(1, comm=name, parent_comm=f"{name}2", pod=name, namespace=name, clone=[name], timestamp=name)
    told["k8s"]["node"] = told["container"]["name"] = name
    assert line(told).isprintable()
    assert harmless(Paint(coloured=True)(compact(Said(told))))


def test_colours_are_whole_and_only_where_they_are_wished_for():
    pieces = compact(Said(fork(1)))
    assert Paint(coloured=True)(pieces).count("\x1b[0m") * 2 == Paint(coloured=True)(pieces).count("\x1b[")
    assert Paint(coloured=False)(pieces) == plain(pieces)


async def test_forks_are_shown_as_they_come(collector):
    collector.plays.append([b"retry: 2000\n\nid: 41\n\n", event("pods", {"now": "x"}), events(1, 2, mark=42), None])
    async with started(collector, "tail", "--namespace", "shop", "--label", "app=cart", "--comm", "sh") as process:
        assert await Tail(process).lines(2) == [line(fork(1)), line(fork(2))]
    (asked,) = collector.asked
    assert sorted(asked.query) == [("comm", "sh"), ("label", "app=cart"), ("namespace", "shop")]
    assert asked.headers["Accept"] == "text/event-stream" and "Last-Event-ID" not in asked.headers


@pytest.mark.parametrize("name", HOSTILE)
async def test_json_lines_are_the_events(collector, name):
    sent = [fork(1, comm=name, pod=name), fork(2)]
    collector.plays.append([event("fork", sent[0]), event("fork", sent[1]), None])
    async with started(collector, "tail", "-o", "json") as process:
        lines = await Tail(process).lines(2)
    assert [orjson.loads(one) for one in lines] == sent
    assert all(map(harmless, lines))


async def test_history_comes_first_in_the_order_of_time_and_nothing_twice(collector):
    pages = {None: {"forks": [fork(5), fork(4)], "next": "there"}, "there": {"forks": [fork(3)], "next": None}}
    collector.plays.append([b"id: 41\n\n", events(4, 5, 6, mark=42), None])
    collector.answers[FORKS] = lambda request: pages[request.query.get("after")]
    async with started(collector, "tail", "--since", "-15m", "--node", "node1") as process:
        assert await Tail(process).lines(4) == [line(fork(number)) for number in (3, 4, 5, 6)]
    assert [asked.path for asked in collector.asked] == [STREAM, FORKS, FORKS]  # the stream first: nothing falls in between
    assert dict(collector.asked[1].query) == {"node": "node1", "from": "-15m", "limit": "1000"}


async def test_it_comes_back_where_it_was(collector):
    collector.plays.append([b"id: 41\n\n", events(1, mark=42)])
    collector.plays.append([events(1, 2, mark=43)])
    collector.plays.append([b"id: 44\n\n"])
    collector.plays.append([events(3), None])
    async with started(collector, "tail") as process:
        tail = Tail(process)
        assert await tail.lines(3) == [line(fork(number)) for number in (1, 2, 3)]
        errors = await tail.errors(2)
    assert errors[0] == "forklore tail: the collector ended the stream; trying again in 0 s"
    assert errors[1] == f"forklore tail: {collector.url} is there again after 0 s"
    assert [asked.headers.get("Last-Event-ID") for asked in collector.asked] == [None, "42", "43", "44"]


async def test_a_collector_that_cannot_answer_for_a_while_is_waited_for(collector):
    collector.plays.append([events(1, mark=42)])
    turns = iter([(503, {"error": "the store does not answer"}), (429, {"error": "too many"})])

    def away(_request):
        try:
            return next(turns)
        except StopIteration:
            collector.plays.append([events(2, mark=43), None])
            return (500, {})

    collector.answers[STREAM] = away
    async with started(collector, "tail") as process:
        tail = Tail(process)
        assert await tail.lines(2) == [line(fork(1)), line(fork(2))]
        errors = await tail.errors(4)
    assert "503: the store does not answer" in errors[1] and "429: too many" in errors[2]


async def test_what_was_lost_is_said_where_the_forks_would_be(collector):
    told = [
        events(1),
        event("lost", {"forks": 1214, "more": False}),
        events(2),
        event("lost", {"forks": 9, "more": True}),
        None,
    ]
    collector.plays += [told, told]
    async with started(collector, "tail") as process:
        lines = await Tail(process).lines(4)
    assert lines[1] == "--- 1,214 forks are not shown: this reader was too slow ---"
    assert (lines[0], lines[2]) == (line(fork(1)), line(fork(2))) and "over 9 forks" in lines[3]
    async with started(collector, "tail", "-o", "json") as process:
        lines = [orjson.loads(one) for one in await Tail(process).lines(4)]
    assert lines[1] == {"event": "lost", "forks": 1214, "more": False}


async def test_a_break_that_nobody_knows_the_length_of_is_said(collector):
    collector.plays += [[events(1)], [events(2), None]]  # no ids: this collector can't take anyone up again
    async with started(collector, "tail") as process:
        lines = await Tail(process).lines(3)
    assert lines[1] == "--- an unknown number of forks are not shown: the collector was away ---"


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        ((401, {"error": "a token is wanted"}), 77, "--token-file"),
        ((404, {"error": "Not Found"}), 76, "older one"),
        ((400, {"error": "entity: 'x' is not 16 hex digits"}), 2, "16 hex digits"),
        ({"forks": []}, 76, "no stream"),
        ((503, {"error": "stopping"}), 69, "stopping"),
    ],
)
async def test_what_goes_wrong_at_first_ends_it(collector, forklore, answer, code, words):
    collector.answers[STREAM] = answer
    ended = await forklore("tail", "--entity", "x")
    assert (ended.code, ended.out) == (code, "") and words in ended.err


async def test_a_token_that_is_taken_away_ends_it_later_too(collector):
    collector.plays.append([events(1, mark=42)])
    collector.answers[STREAM] = (401, {"error": "a token is wanted"})
    ended = await ran(collector, "tail")
    assert ended.code == 77 and ended.lines == [line(fork(1))]


async def test_events_that_are_none_are_no_crash(collector):
    collector.plays.append(
        [b"event: fork\ndata: {cut\n\n", event("fork", 7), event("fork", []), event("lost", None), events(1), None]
    )
    async with started(collector, "tail") as process:
        lines = await Tail(process).lines(5)
    assert lines[-1] == line(fork(1)) and all(map(harmless, lines))


async def test_ctrl_c_ends_it_without_a_word(collector):
    collector.plays.append([events(1), None])
    async with started(collector, "tail") as process:
        await Tail(process).lines(1)
        process.send_signal(signal.SIGINT)
        assert await process.stderr.read() == b""
        assert await process.wait() == -signal.SIGINT


async def test_a_reader_who_leaves_ends_it_quietly(collector):
    collector.plays.append([events(1), *(events(*range(number, number + 50)) for number in range(2, 5000, 50)), None])
    async with started(collector, "tail") as process:
        await Tail(process).lines(1)
        process.stdout._transport.close()
        assert (await process.wait(), await process.stderr.read()) == (0, b"")


async def test_no_textual_and_no_other_room_is_loaded_for_it():
    code = "import sys, cli.tail, cli.tree, cli.top; print({name.partition('.')[0] for name in sys.modules})"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    loaded = out.decode()
    assert "'terminal'" in loaded and "'wire'" in loaded
    assert not any(f"'{name}'" in loaded for name in ("textual", "rich", "agent", "collector", "pydantic", "jinja2"))
