"""Keeps the pods of this node up to date: one list, then one watch. Nothing else is asked of the Kubernetes API.

RBAC: get, list, watch on pods. While the API is away nothing here stops, and `Pods` keeps what it has.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import Any, Final

import aiohttp
import orjson

from agent.attribution.pods.index import Pods
from agent.attribution.pods.lines import Lines
from agent.attribution.pods.objects import as_object, pod_of
from agent.attribution.pods.requests import (
    MAX_LIST,
    REQUEST_ERRORS,
    AnswerTooLarge,
    ApiException,
    PodRequests,
    check_status,
    connect,
    describe,
    read_answer,
    retry_after_s,
)
from agent.model import Pod
from wire.backoff import Backoff

__all__ = ["PodWatch"]

log = logging.getLogger(__name__)

_PAGE: Final = 500  # pods a list request; a node has 110 by default, 250 at most as a rule
_MOST_PAGES: Final = 20
_LONGEST_TOKEN: Final = 4096  # characters of `continue`
_WATCH_S: Final = 300  # the server ends a stream after one to two times this; the next one continues where it ended
_SILENCE_S: Final = 90.0  # bookmarks come about every minute; a stream that is silent for longer is dead
_SILENT_STREAMS: Final = 2  # without a line, in a row, before a new list: the version may be one that the server never had
_ANSWER_S: Final = 30.0  # for a watch to begin; after a server's power failure TCP alone would try for two minutes
_STABLE_S: Final = 10.0  # a connection that held for so long does not count as a failure
_REJOIN_S: Final = 2.0  # a broken stream is continued within so long: less than a fork waits for its pod
_BACKOFF: Final = Backoff(first_s=1.0, longest_s=30.0)


class _Expired(Exception):
    """The resource version is too old (410), or the server never had it (after a restore): only a new list helps."""


class PodWatch:
    """`kubeconfig`, `strict_x509`: as for `connect`. `keep`: the annotations that are kept, by their keys.

    `state`: one line for people: the API's last answer, or why there is none. `synced`: a list has succeeded. `requests`: how
    many, by outcome: list, watch, a status, or an error's name.
    """

    def __init__(
        self, pods: Pods, node: str, kubeconfig: Path | None, keep: Collection[str] = (), *, strict_x509: bool = False
    ) -> None:
        self._pods = pods
        self._keep = keep
        self._selector = f"spec.nodeName={node}"
        self._kubeconfig = kubeconfig
        self._strict_x509 = strict_x509
        self.state = "not asked yet"
        self.synced = False
        self._version: str | None = None
        self._silent = 0  # streams in a row that fell silent before their first line
        self._proxy: str | None = None
        self._listed = 0.0  # when the last list began, the loop's time
        self.requests: dict[str, int] = {}

    async def run(self) -> None:
        """Runs until it is cancelled. After an expected error (API away, 401, 403, 410, 429, 5xx, a dead stream) it reports it
        in `state` and tries again."""
        failures = 0
        while True:
            began = asyncio.get_running_loop().time()
            retry_after = 0.0
            try:
                async with connect(self._kubeconfig, strict_x509=self._strict_x509) as requests:
                    self._proxy = requests.proxy
                    await self._follow(requests)
            except _Expired:
                self._version = None
                self._count("expired")
                self.state = "the resource version is not the server's: listing again"
                # The API answers, so earlier failures are over. But a list that has just been made cannot be too old.
                if asyncio.get_running_loop().time() - self._listed > _STABLE_S:
                    failures = 0
            except REQUEST_ERRORS as error:
                self._count(str(error.status) if isinstance(error, ApiException) else type(error).__name__)
                self.state = describe(error, self._proxy)
                if "resource version" in str(getattr(error, "reason", "")):  # "Too large resource version: 9, current: 5"
                    self._version = None
                retry_after = retry_after_s(error)
            self._pods.current = False
            # Only what fails soon after it began is a reason to wait longer each time.
            failures = 1 if asyncio.get_running_loop().time() - began > _STABLE_S else failures + 1
            if failures in (1, 5):
                log.warning("Kubernetes API: %s; trying again", self.state)
            # With jitter, so that the agents of a cluster do not come back in one moment; on top of what the server asked for.
            await asyncio.sleep(retry_after + _BACKOFF.full_jitter(failures, random.uniform))

    async def _follow(self, requests: PodRequests) -> None:
        """Lists, unless a resource version is known, and then watches, stream after stream, until an error."""
        while True:
            if self._version is None:
                self._version = await self._list(requests)
            began = asyncio.get_running_loop().time()
            # Streams end at random times, or all agents that started together would come back together.
            seconds = int(_WATCH_S * random.uniform(1, 2))  # noqa: S311
            self._version = await self._watch(requests, self._version, seconds)
            lasted = asyncio.get_running_loop().time() - began
            if lasted < _STABLE_S:
                raise TimeoutError("the watch ended as soon as it began")
            if lasted < seconds - 1:
                # An API server that stops ends the streams of all its agents in one moment.
                await asyncio.sleep(random.uniform(0, _REJOIN_S))  # noqa: S311

    async def _list(self, requests: PodRequests) -> str:
        """Returns the resource version of the list. Raises AnswerTooLarge."""
        pods: list[Pod] = []
        page: dict[str, str] = {}
        left = MAX_LIST
        self._listed = asyncio.get_running_loop().time()
        for _ in range(_MOST_PAGES):
            self._count("list")
            answer = await requests.pods(
                fieldSelector=self._selector,
                limit=_PAGE,
                # From the API server's cache, not from etcd: many agents that restart at once must not load the quorum.
                resourceVersion=None if page else "0",
                timeout=60,
                **page,
            )
            text = await read_answer(answer, left)
            left -= len(text)
            if answer.status == 410:  # the continue token grew too old between two pages
                raise _Expired
            check_status(answer.status, text, answer.headers)
            body = as_object(orjson.loads(text))
            items = body.get("items")
            pods += [pod for item in (items if isinstance(items, list) else []) if (pod := pod_of(item, self._keep))]
            metadata = as_object(body.get("metadata"))
            if not isinstance(metadata.get("continue"), str) or not metadata["continue"]:
                break
            if len(metadata["continue"]) > _LONGEST_TOKEN:
                raise AnswerTooLarge(f"a continue token of more than {_LONGEST_TOKEN} characters is no API server's")
            page = {"continue": metadata["continue"]}
        else:
            raise AnswerTooLarge(f"a list of more than {_MOST_PAGES} pages is none of a node's pods")
        self._pods.replace(pods, asyncio.get_running_loop().time())
        self.synced = True
        self.state = f"listed {len(pods)} pods"
        return str(metadata.get("resourceVersion", ""))

    async def _watch(self, requests: PodRequests, version: str, seconds: int) -> str:
        """Applies one stream's events. Returns the resource version to continue from."""
        self._count("watch")
        async with asyncio.timeout(_ANSWER_S):
            answer = await requests.pods(
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
            check_status(answer.status, await read_answer(answer), answer.headers)
        self.state = f"watching {len(self._pods)} pods"
        self._pods.current = True
        try:
            async for line in _lines(answer.content):
                self._silent = 0
                version = self._version = self._apply(as_object(orjson.loads(line))) or version
                self.state = f"watching {len(self._pods)} pods"
        except (aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError, TimeoutError) as error:
            # The stream broke or fell silent: continue from the last version that was received.
            self._pods.current = False
            self._count(type(error).__name__)
            self._silent += isinstance(error, TimeoutError)
        finally:
            answer.close()
        if self._silent >= _SILENT_STREAMS:
            self._silent = 0
            raise _Expired
        return version

    def _apply(self, event: dict[str, Any]) -> str | None:
        """Returns the event's resource version. Raises _Expired when it is lower than the version before."""
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
        if not isinstance(version, str):
            return None
        if _went_back(version, self._version):
            raise _Expired
        return version

    def _count(self, outcome: str) -> None:
        self.requests[outcome] = self.requests.get(outcome, 0) + 1


def _went_back(version: str, before: str | None) -> bool:
    """Versions are decimal numbers that grow (Kubernetes API Concepts, "Resource versions")."""
    both_numbers = version.isascii() and version.isdigit() and before is not None and before.isascii() and before.isdigit()
    return both_numbers and int(version[:40]) < int((before or "")[:40])


async def _lines(stream: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Whole lines only: a line that the end of the stream cut off is not an event. Raises TimeoutError on silence,
    LineTooLong."""
    lines = Lines()
    while True:
        async with asyncio.timeout(_SILENCE_S):
            chunk = await stream.readany()
        if not chunk:
            return
        for line in lines.feed(chunk):
            yield line
