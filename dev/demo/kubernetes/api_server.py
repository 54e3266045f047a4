"""A fake Kubernetes API server: pods over real HTTP, by list and watch, from an in-process `Cluster`.

It answers as the recorded 1.36 server does. `kmock` (0.8) is not used, because its list has no real resourceVersion (it is
"..."), and its watch always begins with everything and has no resourceVersion, bookmarks, timeoutSeconds, 410 or chunked lists,
all of which the agent relies on.
"""

import asyncio
import base64
import json
import secrets
import ssl
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from dev.demo.kubernetes.cluster import Cluster, ExpiredError
from dev.demo.kubernetes.pod_objects import Json
from dev.demo.kubernetes.selection import BadRequestError, Selector, change_for, number, selector

DEFAULT_WATCH = 1800.0  # seconds, when the client names no timeout; a real server takes 30 to 60 minutes
VERSION = {"major": "1", "minor": "36", "gitVersion": "v1.36.2", "platform": "linux/amd64"}
_REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    404: "NotFound",
    410: "Expired",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


@dataclass
class Faults:
    """Faults that a test injects, at any time; they apply from the next request, or line of a watch, on."""

    refusals: list[tuple[int, dict[str, str]]] = field(default_factory=list)  # HTTP status and headers, one pair per request
    sending: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.sending.set()

    def refuse(self, count: int, status: int, retry_after: int | None = None) -> None:
        """The next `count` requests get this status (429, 500, 503 ...); `retry_after` in seconds."""
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        self.refusals += [(status, headers)] * count

    def silence(self) -> None:
        """Watch streams stay open and send nothing from now on, not even bookmarks or an end, as when a connection is lost
        silently."""
        self.sending.clear()

    def resume(self) -> None:
        """Undoes `silence`: what was held back is sent."""
        self.sending.set()


class KubernetesApi:
    """Serves a cluster's pods. An async context manager; `url` is known once it is entered.

    `host` is the address that it listens on; with `tls` it speaks HTTPS. `token` is the required bearer token, None = none; it
    may be changed while serving. `requests` counts by kind (list, watch, get, version, refused, unauthorized), `bytes_sent`
    adds up the bodies. `port` 0 takes a free one; after
    `stop`, `start` listens on the same one again. `bookmarks` is their interval in seconds; a real server's is about 60.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        token: str | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        bookmarks: float = 60.0,
    ) -> None:
        self.cluster = cluster
        self.host = host
        self.token = token
        self.faults = Faults()
        self.requests: Counter[str] = Counter()
        self.bytes_sent = 0
        self._port = port
        self._tls = tls
        self._bookmarks = bookmarks
        self._snapshots: dict[str, tuple[int, list[Json]]] = {}  # by continue token: version, and the rest of the list
        self._open: set[asyncio.Transport] = set()
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """`http://HOST:PORT`, or `https://`."""
        return f"{'https' if self._tls else 'http'}://{self.host}:{self._port}"

    async def __aenter__(self) -> "KubernetesApi":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Starts to listen."""
        application = web.Application(middlewares=[self._middleware])
        self.add_routes(application.router)
        # With cancellation a watch ends when its client disconnects; otherwise an idle one would notice only at its next line.
        self._runner = web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, self.host, self._port, reuse_address=True, ssl_context=self._tls).start()
        self._port = self._runner.addresses[0][1]

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """What it serves; a subclass adds more."""
        router.add_get("/version", self._version)
        router.add_get("/api/v1/pods", self._pods)
        router.add_get("/api/v1/namespaces/{namespace}/pods", self._pods)
        router.add_get("/api/v1/namespaces/{namespace}/pods/{name}", self._pod)

    def is_authorized(self, token: str) -> bool:
        """`token`: of a request, empty where it has none."""
        return self.token is None or token == self.token

    async def stop(self) -> None:
        """Stops listening and aborts open connections; new ones are refused."""
        if self._runner is not None:
            self.drop_connections()
            await self._runner.cleanup()
            self._runner = None

    def drop_connections(self) -> None:
        """Aborts every open connection."""
        for transport in tuple(self._open):
            transport.abort()

    def write_kubeconfig(self, path: Path) -> None:
        """Writes the kubeconfig for this server, as `kubectl` would (JSON is YAML)."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "demo",
            "clusters": [{"name": "demo", "cluster": {"server": self.url}}],
            "users": [{"name": "demo", "user": {"token": self.token} if self.token else {}}],
            "contexts": [{"name": "demo", "context": {"cluster": "demo", "user": "demo"}}],
        }
        path.write_text(json.dumps(config, indent=1))

    @web.middleware
    async def _middleware(self, request: web.Request, handler: Callable[[web.Request], Any]) -> web.StreamResponse:
        transport = request.transport
        if transport is None:  # the client has disconnected
            raise ConnectionResetError
        self._open.add(transport)
        try:
            if self.faults.refusals:
                self.requests["refused"] += 1
                status, headers = self.faults.refusals.pop(0)
                return self.refusal(status, "refused on purpose", headers)
            scheme, _, token = request.headers.get("Authorization", "").partition(" ")
            # In-cluster clients write `bearer`.
            if not self.is_authorized(token if scheme.lower() == "bearer" else ""):
                self.requests["unauthorized"] += 1
                return self.refusal(401, "Unauthorized")
            answer: web.StreamResponse = await handler(request)
        except BadRequestError as error:
            return self.refusal(400, str(error))
        except web.HTTPNotFound:
            return self.refusal(404, "the server could not find the requested resource")
        else:
            return answer
        finally:
            self._open.discard(transport)

    async def _version(self, _request: web.Request) -> web.Response:
        self.requests["version"] += 1
        return self.json_answer(VERSION)

    async def _pod(self, request: web.Request) -> web.Response:
        self.requests["get"] += 1
        requested = (request.match_info["namespace"], request.match_info["name"])
        for pod in self.cluster:
            if (pod["metadata"]["namespace"], pod["metadata"]["name"]) == requested:
                return self.json_answer({"kind": "Pod", "apiVersion": "v1", **pod})
        return self.refusal(404, f'pods "{requested[1]}" not found')

    async def _pods(self, request: web.Request) -> web.StreamResponse:
        matches = selector(request)
        if request.query.get("watch") in {"true", "1", "True"}:
            self.requests["watch"] += 1
            return await self._watch(request, matches)
        self.requests["list"] += 1
        return self._list(request, matches)

    def _list(self, request: web.Request, matches: Selector) -> web.Response:
        requested, limit = request.query.get("resourceVersion", ""), number(request, "limit", 0)
        token = request.query.get("continue", "")
        if token:
            if token not in self._snapshots:
                return self.refusal(410, "The provided continue parameter is too old to display a consistent list result.")
            version, pods = self._snapshots[token]
        else:
            if number(request, "resourceVersion", 0) > self.cluster.version:
                return self.refusal(504, f"Too large resource version: {requested}, current: {self.cluster.version}")
            version, pods = self.cluster.version, [pod for pod in self.cluster if matches(pod)]
        metadata: Json = {"resourceVersion": str(version)}
        if limit and requested != "0":  # version 0 is answered whole from the watch cache, whatever the limit
            pods, rest = pods[:limit], pods[limit:]
            if rest:
                metadata["continue"] = base64.urlsafe_b64encode(secrets.token_bytes(12)).decode()
                metadata["remainingItemCount"] = len(rest)
                self._snapshots[metadata["continue"]] = (version, rest)
        return self.json_answer({"kind": "PodList", "apiVersion": "v1", "metadata": metadata, "items": pods})

    def compact(self) -> None:
        """Forgets the history: watches from an old version, and partly read lists, get 410."""
        self.cluster.compact()
        self._snapshots.clear()

    async def _watch(self, request: web.Request, matches: Selector) -> web.StreamResponse:
        version = number(request, "resourceVersion", 0)
        seconds = number(request, "timeoutSeconds", 0) or DEFAULT_WATCH
        bookmarks = request.query.get("allowWatchBookmarks") in {"true", "1", "True"}
        answer = web.StreamResponse(headers={"Content-Type": "application/json"})
        await answer.prepare(request)

        async def send(kind: str, document: Json) -> None:
            await self.faults.sending.wait()
            line = json.dumps({"type": kind, "object": document}, separators=(",", ":")).encode() + b"\n"
            self.bytes_sent += len(line)
            await answer.write(line)

        async def follow(version: int) -> None:
            if not version:  # no version: the current state first
                version, pods = self.cluster.version, [pod for pod in self.cluster if matches(pod)]
                for pod in pods:
                    await send("ADDED", {"kind": "Pod", "apiVersion": "v1", **pod})
            while True:
                try:
                    events = self.cluster.events_after(version)
                except ExpiredError as error:
                    await send("ERROR", _status_object(410, str(error)))
                    return
                for event in events:
                    version = event.version
                    if (kind := change_for(event, matches)) is not None:
                        await send(kind, {"kind": "Pod", "apiVersion": "v1", **event.pod})
                try:
                    await asyncio.wait_for(self.cluster.wait_past(version), self._bookmarks if bookmarks else None)
                except TimeoutError:
                    if self.cluster.version <= version:  # else something happened at the same moment: it comes first
                        await send("BOOKMARK", _bookmark(version))

        try:
            async with asyncio.timeout(seconds):
                await follow(version)
        except TimeoutError:
            await self.faults.sending.wait()  # then the stream ends, and the client starts a new watch
        await answer.write_eof()
        return answer

    def json_answer(self, document: Json, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
        body = json.dumps(document, separators=(",", ":")).encode()
        self.bytes_sent += len(body)
        return web.Response(body=body, status=status, content_type="application/json", headers=headers)

    def refusal(self, code: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
        return self.json_answer(_status_object(code, message), code, headers)


def _status_object(code: int, message: str) -> Json:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": _REASONS.get(code, ""),
        "code": code,
    }


def _bookmark(version: int) -> Json:
    metadata = {"resourceVersion": str(version)}
    return {"kind": "Pod", "apiVersion": "v1", "metadata": metadata, "spec": {"containers": None}, "status": {}}
