"""Answers of a server, or of a proxy before it, that are not a valid list or watch: none ends the watch."""

import asyncio
import json
from contextlib import asynccontextmanager, suppress

import pytest
from aiohttp import web

from agent.attribution.pods import Pods
from agent.attribution.pods import lines as lines_module
from agent.attribution.pods import requests as requests_module
from agent.attribution.pods import watch as pod_watch_module
from agent.attribution.pods.watch import PodWatch
from wire.backoff import Backoff

LIST = {"kind": "PodList", "metadata": {"resourceVersion": "10"}, "items": []}
EXPIRED = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}}


def added(name, version):
    metadata = {"uid": f"uid-of-{name}", "namespace": "shop", "name": name, "resourceVersion": str(version)}
    return {"type": "ADDED", "object": {"kind": "Pod", "metadata": metadata}}


def line(event):
    return json.dumps(event).encode() + b"\n"


class ScriptedApi:
    """Answers lists with `lists` and watches with `streams`, in order; the last one again and again.

    A stream is a list of chunks; None at its end keeps it open.
    """

    def __init__(self):
        self.lists, self.streams = [json.dumps(LIST).encode()], [[None]]
        self.listed, self.versions = 0, []
        self._runner = None

    async def _pods(self, request):
        if "watch" not in request.query:
            self.listed += 1
            body = self.lists[min(self.listed, len(self.lists)) - 1]
            return web.Response(body=body, content_type="application/json")
        self.versions.append(request.query["resourceVersion"])
        answer = web.StreamResponse()
        await answer.prepare(request)
        for chunk in self.streams[min(len(self.versions), len(self.streams)) - 1]:
            if chunk is None:
                await asyncio.Event().wait()
            await answer.write(chunk)
        return answer

    async def start(self, kubeconfig):
        application = web.Application()
        application.router.add_get("/api/v1/pods", self._pods)
        self._runner = web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        server = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        named = {"name": "x", "cluster": {"server": server}, "user": {}, "context": {"cluster": "x", "user": "x"}}
        config = {"current-context": "x", "clusters": [named], "users": [named], "contexts": [named]}
        kubeconfig.write_text(json.dumps(config))

    async def stop(self):
        await self._runner.cleanup()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(pod_watch_module, "_BACKOFF", Backoff(0.002, 0.005))


@pytest.fixture
async def api(kubeconfig):
    api = ScriptedApi()
    await api.start(kubeconfig)
    yield api
    await api.stop()


@pytest.fixture
def kubeconfig(tmp_path):
    return tmp_path / "kubeconfig"


@asynccontextmanager
async def watching(kubeconfig):
    pods = Pods()
    watch = PodWatch(pods, "node1", kubeconfig)
    task = asyncio.create_task(watch.run())

    async def until(true):
        async with asyncio.timeout(10):
            while not true():
                assert not task.done(), f"the watch ended: {task.exception()!r}"
                assert "ValidationError" not in watch.requests, f"the client refused our own arguments: {watch.state}"
                await asyncio.sleep(0.002)

    try:
        yield pods, watch, until
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await task


async def test_half_a_line_at_the_end_of_a_stream_is_not_an_event(api, kubeconfig):
    b = line(added("b", 12))
    api.streams = [[line(added("a", 11)), b[:30]], [b, None]]
    async with watching(kubeconfig) as (pods, _, until):
        await until(lambda: len(pods) == 2)
    assert api.versions == ["10", "11"]


async def test_a_line_that_comes_in_pieces_is_one_event(api, kubeconfig):
    both = line(added("a", 11)) + line(added("b", 12))
    api.streams = [[both[at : at + 7] for at in range(0, len(both), 7)] + [None]]
    async with watching(kubeconfig) as (pods, _, until):
        await until(lambda: len(pods) == 2)


async def test_an_expired_version_in_the_stream_leads_to_a_new_list(api, kubeconfig):
    api.streams = [[line(EXPIRED)], [line(added("a", 11)), None]]
    async with watching(kubeconfig) as (pods, watch, until):
        await until(lambda: len(pods) == 1)
        assert (api.listed, watch.requests["expired"]) == (2, 1)


@pytest.mark.parametrize("event", [added("b", 4), {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "4"}}}])
async def test_a_version_that_went_back_leads_to_a_new_list(api, kubeconfig, event):
    """As after etcd was restored from a backup."""
    api.lists = [json.dumps(LIST).encode(), json.dumps({**LIST, "metadata": {"resourceVersion": "4"}}).encode()]
    api.streams = [[line(added("a", 12)), line(event), None], [line(added("c", 5)), None]]
    async with watching(kubeconfig) as (pods, watch, until):
        await until(lambda: pods.get("uid-of-c"))
        assert (api.listed, watch.requests["expired"], len(pods)) == (2, 1, 1)
    assert api.versions == ["10", "4"]


async def test_silent_streams_in_a_row_lead_to_a_new_list(api, kubeconfig, monkeypatch):
    """A server with lower versions than ours may wait for ours without end."""
    monkeypatch.setattr(pod_watch_module, "_SILENCE_S", 0.02)
    monkeypatch.setattr(pod_watch_module, "_STABLE_S", 0.0)
    async with watching(kubeconfig) as (_, _, until):
        await until(lambda: api.listed >= 2)
    assert api.versions[:2] == ["10", "10"]


async def test_the_recorded_answer_to_an_old_version_is_understood(api, kubeconfig, recorded):
    api.streams = [[line(recorded("watch-expired-410.json"))], [None]]
    async with watching(kubeconfig) as (_, _, until):
        await until(lambda: api.listed == 2)


async def test_the_whole_recorded_stream_is_applied(api, kubeconfig, recorded_events):
    api.streams = [[line(event) for event in recorded_events], [None]]
    last = [event["object"]["metadata"]["resourceVersion"] for event in recorded_events][-1]
    async with watching(kubeconfig) as (pods, _, until):
        await until(lambda: len(api.versions) >= 2)
        deleted = {event["object"]["metadata"]["uid"] for event in recorded_events if event["type"] == "DELETED"}
        added = {event["object"]["metadata"]["uid"] for event in recorded_events if event["type"] == "ADDED"}
        assert len(pods) == len(added - deleted)
    assert api.versions[1] == last


@pytest.mark.parametrize(
    "chunk",
    [b"<html>\n", b"{\n", line({"type": "ERROR", "object": {"code": 500, "message": "etcd"}}), line({"type": "ERROR"})],
    ids=["html", "cut", "error", "empty error"],
)
async def test_after_an_invalid_line_the_watch_recovers(api, kubeconfig, chunk):
    api.streams = [[chunk], [line(added("a", 11)), None]]
    async with watching(kubeconfig) as (pods, _, until):
        await until(lambda: len(pods) == 1)


@pytest.mark.parametrize("event", [{"type": "NEW", "object": {}}, {"type": "ADDED", "object": {"metadata": {}}}, {}])
async def test_an_unknown_event_is_skipped(api, kubeconfig, event):
    api.streams = [[line(event), line(added("a", 11)), None]]
    async with watching(kubeconfig) as (pods, _, until):
        await until(lambda: len(pods) == 1)
    assert len(api.versions) == 1


@pytest.mark.parametrize("body", [b"<html>", b"", b'{"items": null}'])
async def test_after_an_invalid_list_the_watch_recovers(api, kubeconfig, body):
    api.lists = [body, json.dumps(LIST).encode()]
    api.streams = [[line(added("a", 11)), None]]
    async with watching(kubeconfig) as (pods, _, until):
        await until(lambda: len(pods) == 1)


async def never(until, true):
    """Asserts that the condition stays false for ten times as long as it would need."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await until(true)


@pytest.mark.parametrize("body", [b"[]", b"null", b'{"metadata": [1]}', b'{"items": 5}'])
async def test_after_a_list_of_another_shape_the_watch_recovers(api, kubeconfig, body):
    api.lists = [body, json.dumps(LIST).encode()]
    api.streams = [[line(added("a", 11)), None]]
    async with watching(kubeconfig) as (pods, _, until):
        await until(lambda: len(pods) == 1)


@pytest.mark.parametrize("event", [[], None, 5, {"type": "ERROR", "object": "x"}, {"type": "ADDED", "object": ["x"]}])
async def test_after_an_event_of_another_shape_the_watch_recovers(api, kubeconfig, event):
    api.streams = [[line(event)], [line(added("a", 11)), None]]
    async with watching(kubeconfig) as (pods, _, until):
        await until(lambda: len(pods) == 1)


@pytest.mark.parametrize("text", ["{", "[]", "\x00"])
async def test_after_a_half_written_kubeconfig_the_watch_recovers(api, kubeconfig, text):
    whole = kubeconfig.read_text()
    kubeconfig.write_text(text)
    async with watching(kubeconfig) as (_, watch, until):
        await until(lambda: watch.requests)
        kubeconfig.write_text(whole)
        await until(lambda: api.versions)


async def test_an_api_that_is_away_for_hours_does_not_end_the_watch(tmp_path, monkeypatch):
    monkeypatch.setattr(pod_watch_module, "_BACKOFF", Backoff(1.0, 0.0))
    async with watching(tmp_path / "nowhere") as (_, watch, until):
        await until(lambda: watch.requests.get("ConfigException", 0) > 1100)


async def test_a_server_that_ends_each_stream_at_once_is_not_hammered(api, kubeconfig, monkeypatch):
    monkeypatch.setattr(pod_watch_module, "_BACKOFF", Backoff(3600.0, 3600.0))
    api.streams = [[]]
    async with watching(kubeconfig) as (_, _, until):
        await never(until, lambda: len(api.versions) > 20)


async def test_a_server_with_only_expired_lists_is_not_hammered(api, kubeconfig, monkeypatch):
    monkeypatch.setattr(pod_watch_module, "_BACKOFF", Backoff(3600.0, 3600.0))
    api.streams = [[line(EXPIRED)]]
    async with watching(kubeconfig) as (_, _, until):
        await never(until, lambda: api.listed > 4)  # each takes a new client: 20 ms of loading certificates


async def test_the_pause_grows_while_watches_fail(api, kubeconfig, monkeypatch):
    monkeypatch.setattr(pod_watch_module, "_BACKOFF", Backoff(0.002, 1.0))
    longest = []

    class NoJitter:
        def uniform(self, low, high):
            longest.append(high)
            return low

    monkeypatch.setattr(pod_watch_module, "random", NoJitter())
    api.streams = [[b"{\n"]]
    async with watching(kubeconfig) as (_, _, until):
        await until(lambda: len(api.versions) > 8)
    pauses = [high for high in longest if high != 2]  # uniform(1, 2) is the streams' length
    assert pauses[5] > pauses[0] * 8


async def test_a_line_without_an_end_is_an_error_that_is_counted(api, kubeconfig, monkeypatch):
    monkeypatch.setattr(lines_module, "LONGEST", 10_000)
    api.streams = [[b"x" * 6000, b"x" * 6000, None], [line(added("a", 11)), None]]
    async with watching(kubeconfig) as (pods, watch, until):
        await until(lambda: pods.get("uid-of-a"))
        assert watch.requests["LineTooLong"] == 1


def pages(count, **metadata):
    """Bodies of lists of which each has a next one."""
    more = {"resourceVersion": "10", "continue": "next", **metadata}
    return [json.dumps({**LIST, "metadata": more}).encode()] * count


@pytest.mark.parametrize(
    ("lists", "state"),
    [
        ([json.dumps(LIST).encode() + b" " * 20_000], "more than 10000 bytes are no list"),
        ([one + b" " * 4000 for one in pages(3)], "more than 10000 bytes are no list"),
        (pages(21), "a list of more than 20 pages"),
        (pages(1, **{"continue": "x" * 5000}), "a continue token of more than 4096 characters"),
    ],
    ids=["one answer", "all answers together", "without an end", "token"],
)
async def test_a_list_without_an_end_is_an_error_that_is_counted(api, kubeconfig, monkeypatch, lists, state):
    monkeypatch.setattr(pod_watch_module, "MAX_LIST", 10_000)
    monkeypatch.setattr(requests_module, "MAX_LIST", 10_000)
    api.lists = [*lists, json.dumps(LIST).encode()]
    api.streams = [[line(added("a", 11)), None]]
    states = set()
    async with watching(kubeconfig) as (pods, watch, until):
        await until(lambda: states.add(watch.state) or pods.get("uid-of-a"))
        assert watch.requests["AnswerTooLarge"] == 1
    assert any(state in one for one in states)
    assert api.listed <= len(lists) + 1
