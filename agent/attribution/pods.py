"""The directory of this node's pods: one list, one watch, and nothing else is asked of the API. The one speaker to Kubernetes.

RBAC: get, list, watch on pods. The API being away stops nothing here: the directory keeps what it knows. Must not live here:
cgroups, and any waiting for an answer on behalf of a fork.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import aiohttp
import orjson
from kubernetes.aio import client, config
from kubernetes.aio.client.exceptions import ApiException

from agent.attribution.pod_objects import as_object, pod_of
from agent.model import Container, Pod
from wire.backoff import Backoff

__all__ = ["TROUBLES", "PodWatch", "Pods", "core_api", "plain"]

log = logging.getLogger(__name__)

KEEP_GONE_S: Final = 600.0  # a deleted pod's last forks may still be in a queue
_FORMER: Final = 50  # containers of a pod that restarts for ever
_LONGEST_ASKED_S: Final = 60.0
_PAGE: Final = 500  # pods a list request; a node has 110 by default, 250 at most as a rule
_WATCH_S: Final = 300  # the server ends the stream after this, and we go on from where it was
_SILENCE_S: Final = 90.0  # bookmarks come about every minute; a stream that says nothing for longer is dead
_ANSWER_S: Final = 30.0  # for a watch to begin: where a server lost its power, the kernel would try for two minutes
_SOUND_S: Final = 10.0  # a connection that held this long was no failure
_REJOIN_S: Final = 2.0  # a stream that broke is taken up within so long: less than a fork waits for its name
_BACKOFF: Final = Backoff(first_s=1.0, longest_s=30.0)


# What asking may raise, and is tried again.
TROUBLES: Final = (ApiException, aiohttp.ClientError, OSError, TimeoutError, config.ConfigException, ValueError)


class Pods:
    """Every pod of the node, by any uid that a cgroup path may use; those just deleted, too."""

    def __init__(self) -> None:
        self._by_uid: dict[str, Pod] = {}
        self._by_alias: dict[str, str] = {}
        self._gone: dict[str, float] = {}
        self.version = 0  # changes whenever an answer may have
        self.changed: set[str] = set()  # uids that were put, went or were forgotten since somebody last emptied this

    def __len__(self) -> int:
        return len(self._by_uid) - len(self._gone)

    def known(self) -> list[str]:
        return list(self._by_uid)

    def is_gone(self, uid: str) -> bool:
        return uid in self._gone

    def get(self, uid: str) -> Pod | None:
        """`uid`: the API's, or a static pod's own."""
        # The API's own uid first: an annotation, which anybody can write, must not lay claim to another pod's forks.
        return self._by_uid.get(uid) or self._by_uid.get(self._by_alias.get(uid, uid))

    def put(self, pod: Pod) -> None:
        before = self._by_uid.get(pod.uid)
        if before:
            pod = replace(pod, containers=_with_former(before.containers, pod.containers))
        self._by_uid[pod.uid] = pod
        for alias in pod.aliases - {pod.uid}:
            holder = self._by_alias.get(alias)
            if holder is None or holder in self._gone:  # whoever had it first keeps it while it lives
                self._by_alias[alias] = pod.uid
        self._gone.pop(pod.uid, None)
        self.version += 1
        self.changed.add(pod.uid)

    def remove(self, uid: str, now: float) -> None:
        """It stays resolvable for a while."""
        if uid in self._by_uid:
            self._gone.setdefault(uid, now)
            self.changed.add(uid)

    def replace(self, pods: list[Pod], now: float) -> None:
        """What a list says is all there is."""
        present = {pod.uid for pod in pods}
        for uid in self._by_uid.keys() - present:  # first: what is gone gives its aliases up
            self.remove(uid, now)
        for pod in pods:
            self.put(pod)

    def forget(self, now: float) -> None:
        for uid in [uid for uid, since in self._gone.items() if now - since > KEEP_GONE_S]:
            pod = self._by_uid.pop(uid)
            del self._gone[uid]
            self.changed.add(uid)
            for alias in pod.aliases:
                if self._by_alias.get(alias) == uid:
                    del self._by_alias[alias]
            self.version += 1


def _with_former(before: Mapping[str, Container], now: Mapping[str, Container]) -> dict[str, Container]:
    """What the status names no more (the containers before the last restart) may still be asked about; a few are kept. And
    where it says less of one than it did, what it said stays."""
    former = {key: one for key, one in before.items() if key not in now}
    kept = dict(list(former.items())[-_FORMER:])
    return kept | {key: before[key] if one.image is None and key in before else one for key, one in now.items()}


class _Expired(Exception):
    """410: the resource version is too old; only a new list helps."""


class PodWatch:
    """Keeps a `Pods` up to date. `kubeconfig` None: the pod's own service account. `keep`: annotations, by their keys.

    `state` is one line for people: what the API last said, or why it says nothing.
    """

    def __init__(self, pods: Pods, node: str, kubeconfig: Path | None, keep: Collection[str] = ()) -> None:
        self._pods = pods
        self._keep = keep
        self._selector = f"spec.nodeName={node}"
        self._kubeconfig = kubeconfig
        self.state = "not asked yet"
        self.synced = False
        self._version: str | None = None
        self._listed = 0.0  # when a list was last asked for, the loop's time
        self.requests: dict[str, int] = {}  # by what came of them: list, watch, or an error's name

    async def run(self) -> None:
        """Forever. Expected trouble (API away, 401, 403, 410, 429, 5xx, a dead stream) is said in `state` and tried again."""
        failures = 0
        while True:
            began = asyncio.get_running_loop().time()
            asked = 0.0
            try:
                async with core_api(self._kubeconfig) as core:
                    await self._follow(core)
            except _Expired:
                self._version = None
                self._count("expired")
                self.state = "the resource version is too old: listing anew"
                # It answers: what was wrong before is over. But what it has just listed can't be too old.
                if asyncio.get_running_loop().time() - self._listed > _SOUND_S:
                    failures = 0
            except TROUBLES as error:
                self._count(str(error.status) if isinstance(error, ApiException) else type(error).__name__)
                self.state = plain(error)
                asked = _asked_for(error)
            # What held for a while was sound: only what fails soon after it began is a reason to wait longer each time.
            failures = 1 if asyncio.get_running_loop().time() - began > _SOUND_S else failures + 1
            if failures in (1, 5):
                log.warning("Kubernetes API: %s; trying again", self.state)
            # Jitter, so that a fleet does not knock at once; after what was asked for, not before.
            await asyncio.sleep(asked + _BACKOFF.full_jitter(failures, random.uniform))

    async def _follow(self, core: PodRequests) -> None:
        """Lists, if there is nothing to go on from, and then watches, stream after stream, until something is wrong."""
        while True:
            if self._version is None:
                self._version = await self._list(core)
            began = asyncio.get_running_loop().time()
            # A spread of the streams' ends, or all agents that started together would come back together.
            seconds = int(_WATCH_S * random.uniform(1, 2))  # noqa: S311
            self._version = await self._watch(core, self._version, seconds)
            lasted = asyncio.get_running_loop().time() - began
            if lasted < _SOUND_S:
                raise TimeoutError("the watch ended as soon as it began")
            if lasted < seconds - 1:
                # A server that goes takes the streams of a whole fleet with it, in one moment.
                await asyncio.sleep(random.uniform(0, _REJOIN_S))  # noqa: S311

    async def _list(self, core: PodRequests) -> str:
        pods: list[Pod] = []
        page: dict[str, str] = {}
        self._listed = asyncio.get_running_loop().time()
        while True:
            self._count("list")
            answer = await core.pods(
                fieldSelector=self._selector,
                limit=_PAGE,
                # From the API server's cache, not from etcd: a fleet that restarts must not wake the quorum.
                resourceVersion=None if page else "0",
                timeout=60,
                **page,
            )
            text = await answer.read()
            if answer.status == 410:  # the continue token grew too old meanwhile
                raise _Expired
            _check(answer.status, text, answer.headers)
            body = as_object(orjson.loads(text))
            items = body.get("items")
            pods += [pod for item in (items if isinstance(items, list) else []) if (pod := pod_of(item, self._keep))]
            metadata = as_object(body.get("metadata"))
            if not isinstance(metadata.get("continue"), str) or not metadata["continue"]:
                break
            page = {"continue": metadata["continue"]}
        self._pods.replace(pods, asyncio.get_running_loop().time())
        self.synced = True
        self.state = f"listed {len(pods)} pods"
        return str(metadata.get("resourceVersion", ""))

    async def _watch(self, core: PodRequests, version: str, seconds: int) -> str:
        self._count("watch")
        async with asyncio.timeout(_ANSWER_S):
            answer = await core.pods(
                fieldSelector=self._selector,
                watch="true",
                allowWatchBookmarks="true",
                resourceVersion=version,
                timeoutSeconds=seconds,
                timeout=seconds + 60,
            )
        if answer.status == 410:
            raise _Expired
        if answer.status != 200:
            _check(answer.status, await answer.read(), answer.headers)
        self.state = f"watching {len(self._pods)} pods"
        try:
            async for line in _lines(answer.content):
                version = self._version = self._take(as_object(orjson.loads(line))) or version
                self.state = f"watching {len(self._pods)} pods"
        except (aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError, TimeoutError) as error:
            # The stream broke or fell silent: go on from the last version that was heard.
            self._count(type(error).__name__)
        finally:
            answer.close()
        return version

    def _take(self, event: dict[str, Any]) -> str | None:
        kind, item = event.get("type"), as_object(event.get("object"))
        if kind == "ERROR":
            if item.get("code") == 410:
                raise _Expired
            raise ApiException(status=item.get("code"), reason=str(item.get("message"))[:200])
        if kind in ("ADDED", "MODIFIED", "DELETED") and (pod := pod_of(item, self._keep)):
            self._pods.put(pod)
            if kind == "DELETED":
                self._pods.remove(pod.uid, asyncio.get_running_loop().time())
        version = as_object(item.get("metadata")).get("resourceVersion")
        return version if isinstance(version, str) else None

    def _count(self, what: str) -> None:
        self.requests[what] = self.requests.get(what, 0) + 1


class PodRequests:
    """The two requests that are ever made, through the client's own transport. The client's CoreV1Api would make the same
    of them,
    and takes 23 MB and half a second for its thousand others."""

    def __init__(self, api: client.ApiClient) -> None:
        self._api = api

    @property
    def server(self) -> str:
        return str(self._api.configuration.host)

    async def pods(self, *, timeout: float, **query: Any) -> aiohttp.ClientResponse:  # noqa: ANN401, ASYNC109  the API's own; the client's
        """GET /api/v1/pods, the answer not read yet. `query`: by the API's names; None is left out. `timeout`: seconds."""
        given = [(name, value) for name, value in query.items() if value is not None]
        return await self._get("/api/v1/pods", given, timeout)

    async def pod(self, namespace: str, name: str, *, timeout: float) -> aiohttp.ClientResponse:  # noqa: ASYNC109  the client's
        return await self._get(f"/api/v1/namespaces/{namespace}/pods/{name}", [], timeout)

    async def _get(self, path: str, query: list[tuple[str, Any]], timeout: float) -> aiohttp.ClientResponse:  # noqa: ASYNC109
        request = await self._api.param_serialize(
            method="GET",
            resource_path=path,
            query_params=query,
            header_params={"Accept": "application/json"},
            auth_settings=["BearerToken"],
        )
        answer = await self._api.call_api(*request, _request_timeout=timeout)
        response: aiohttp.ClientResponse = answer.response
        return response


@asynccontextmanager
async def core_api(kubeconfig: Path | None) -> AsyncIterator[PodRequests]:
    """The way to the API, for some requests. None: the pod's own service account. Raises one of TROUBLES."""
    # Read anew each time: a token or certificate that was replaced is taken up by the next try.
    settings = client.Configuration()
    try:
        if kubeconfig is not None:
            await config.load_kube_config(config_file=str(kubeconfig), client_configuration=settings)
        else:
            config.load_incluster_config(client_configuration=settings)
    except config.ConfigException:
        raise
    except Exception as error:  # a file that is no YAML, or YAML of another shape: the client raises what it stumbles over
        raise config.ConfigException(f"{kubeconfig}: {type(error).__name__}: {error}") from error
    settings.retries = None
    async with client.ApiClient(settings) as api:
        yield PodRequests(api)


async def _lines(stream: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Whole lines only: one that was cut off by the end of the stream is not an event. Raises TimeoutError on silence."""
    rest = b""
    while True:
        async with asyncio.timeout(_SILENCE_S):
            chunk = await stream.readany()
        if not chunk:
            return
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            if line:
                yield line


def _check(status: int, text: bytes, headers: Mapping[str, str]) -> None:
    if status != 200:
        error = ApiException(status=status, reason=text[:200].decode(errors="replace"))
        error.headers = headers
        raise error


def _asked_for(error: Exception) -> float:
    """The pause that the server asks for, seconds; it always does so in seconds, and a minute is the most we grant."""
    value = (getattr(error, "headers", None) or {}).get("Retry-After", "")
    return min(float(value), _LONGEST_ASKED_S) if re.fullmatch(r"[0-9]{1,6}", value) else 0.0


def plain(error: Exception) -> str:
    """In words, for people."""
    if isinstance(error, ApiException):
        hints = {401: "the token is not accepted", 403: "may not list and watch pods: is the ClusterRole bound?"}
        return f"answered {error.status} ({hints.get(error.status, str(error.reason)[:120])})"
    return f"{type(error).__name__}: {str(error)[:160]}"
