"""A server that replays a recorded cluster over HTTP, by list and watch, in good order or with the faults that a test wants.

The expected results are worked out here from the recording with plain dicts, without the agent's code.
"""

import asyncio
from collections import Counter
from contextlib import suppress
from pathlib import Path

import orjson
import pytest
from aiohttp import web

from agent.attribution.pods import Pods
from agent.attribution.pods.watch import PodWatch

RECORDED = Path(__file__).parents[2] / "data/kubernetes-1.36"
PAGE = 3  # pods in each page of a list, whatever the client asks for
KINDS = {"migrate": "init", "mesh": "sidecar", "dbg": "ephemeral"}  # as workloads.yaml has it; all else are apps
STATUSES = ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")


class StreamEnded(Exception):
    """The server ends the stream in an orderly way."""


class ConnectionLost(Exception):
    """The server drops the connection."""


class Recording:
    """The events from `list-start.json` on, up to the resourceVersion `last`.

    `versions[n]`: the resourceVersion after n lines; `states[n]`: the pods then, by uid. `ever`: every pod that existed, in its
    last state and with all the containers that it had.
    """

    def __init__(self, last):
        start = orjson.loads((RECORDED / "list-start.json").read_bytes())
        self.expired = (RECORDED / "watch-expired-410.json").read_bytes().strip() + b"\n"
        self.lines = []
        self.versions = [int(start["metadata"]["resourceVersion"])]
        self.states = [{item["metadata"]["uid"]: item for item in start["items"]}]
        self.ever = {uid: self.facts(item) for uid, item in self.states[0].items()}
        for line in (RECORDED / "watch-lifecycle.ndjson").read_bytes().splitlines(keepends=True):
            event = orjson.loads(line)
            thing, state = event["object"], dict(self.states[-1])
            version, uid = int(thing["metadata"]["resourceVersion"]), thing["metadata"].get("uid")
            if version > last:
                break
            if event["type"] == "DELETED":
                del state[uid]
            elif event["type"] != "BOOKMARK":
                state[uid] = thing
            if uid:
                before = self.ever[uid][-1] if uid in self.ever else {}
                *others, containers = self.facts(thing)
                self.ever[uid] = (*others, before | containers)
            self.lines.append(line)
            self.versions.append(version)
            self.states.append(state)

    @staticmethod
    def facts(item):
        """Namespace, name, labels, and all containers in the object: name and kind, by id."""
        containers = {}
        for one in (one for field in STATUSES for one in item["status"].get(field, [])):
            states = [one.get(key, {}).get("terminated", {}) for key in ("state", "lastState")]
            for full in filter(None, (thing.get("containerID") for thing in (one, *states))):
                containers[full.removeprefix("containerd://")] = (one["name"], KINDS.get(one["name"], "app"))
        metadata = item["metadata"]
        return metadata["namespace"], metadata["name"], metadata.get("labels", {}), containers


class ReplayApi:
    """Lists the pods as of `at`, the number of lines that have happened; watches send the lines after the requested version.

    `send_line(api, write, n)` writes line n, or does what goes wrong there. `ended` is set when a client asks for what comes
    after the last line: then it has applied all. `refusals`: statuses of the next requests; `tear`: lists to break off.
    """

    StreamEnded, ConnectionLost = StreamEnded, ConnectionLost

    def __init__(self, recording, send_line, refusals=(), tear=0):
        self.recording, self.send_line = recording, send_line
        self.refusals, self._tear = list(refusals), tear
        self.at = self._oldest = 0
        self.pages, self.watched, self.attempts = 0, [], Counter()
        self.ended = asyncio.Event()
        self._runner = None

    async def expire(self, write, at):
        """`at` lines have happened, and all are compacted: the stream sends a 410 and ends."""
        self.at = self._oldest = min(at, len(self.recording.lines))
        await write(self.recording.expired)
        raise StreamEnded

    async def _pods(self, request):
        if self.refusals:
            return web.json_response({"kind": "Status"}, status=self.refusals.pop(0))
        assert request.query["fieldSelector"] == "spec.nodeName=node1"
        answer = web.StreamResponse(headers={"Content-Type": "application/json"})
        answer.enable_chunked_encoding()
        await answer.prepare(request)
        with suppress(StreamEnded):
            try:
                await (self._watch if "watch" in request.query else self._list)(request.query, answer.write)
            except ConnectionLost:
                request.transport.abort()
        return answer

    async def _list(self, query, write):
        self.pages += 1
        at, first = map(int, query.get("continue", f"{self.at}/0").split("/"))
        items = list(self.recording.states[at].values())
        metadata = {"resourceVersion": str(self.recording.versions[at])}
        if first + PAGE < len(items):
            metadata["continue"] = f"{at}/{first + PAGE}"
        body = orjson.dumps({"kind": "PodList", "metadata": metadata, "items": items[first : first + PAGE]})
        for piece in range(0, len(body), 1000):
            await write(body[piece : piece + 1000])
            if self._tear:
                self._tear -= 1
                raise ConnectionLost

    async def _watch(self, query, write):
        assert query["allowWatchBookmarks"] == "true"
        version, versions = int(query["resourceVersion"]), self.recording.versions
        self.watched.append(version)
        if version < versions[self._oldest]:
            await self.expire(write, self.at)
        for n in range(sum(one <= version for one in versions) - 1, len(self.recording.lines)):
            self.at = max(self.at, n + 1)
            self.attempts[n] += 1
            await self.send_line(self, write, n)
        if version == versions[-1]:
            self.ended.set()
            await asyncio.Event().wait()

    async def start(self, kubeconfig):
        application = web.Application()
        application.router.add_get("/api/v1/pods", self._pods)
        self._runner = web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        server = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        named = {"name": "x", "cluster": {"server": server}, "user": {}, "context": {"cluster": "x", "user": "x"}}
        config = {"current-context": "x", "clusters": [named], "users": [named], "contexts": [named]}
        kubeconfig.write_bytes(orjson.dumps(config))

    async def stop(self):
        await self._runner.cleanup()


@pytest.fixture
def running(recorded):
    """The list that was recorded while all pods ran."""
    return recorded("list-running.json")


@pytest.fixture(params=["while all ran", "to its end"])
def recording(request, running):
    """The recorded events, up to two moments: when there were eight pods of all kinds, and when nearly all were deleted."""
    return Recording(int(running["metadata"]["resourceVersion"]) if request.param == "while all ran" else 10**9)


@pytest.fixture
def replay(recording, tmp_path):
    """Runs the real watch against the recording, sent by `send_line`, until its last line has been applied."""

    async def run(send_line, **trouble):
        api, pods = ReplayApi(recording, send_line, **trouble), Pods()
        await api.start(tmp_path / "kubeconfig")
        watch = PodWatch(pods, "node1", tmp_path / "kubeconfig")
        tasks = asyncio.create_task(watch.run()), asyncio.create_task(api.ended.wait())
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED, timeout=40)
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        await api.stop()
        assert done == {tasks[1]}, f"{ends[0]!r}; {watch.state}; {watch.requests}; asked for {api.watched[-3:]}"
        return pods, api

    return run
