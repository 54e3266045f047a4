"""The handlers of the pages: parse the address, read from the store, make the page's model, render it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiohttp import web

from collector.http.access import Access, Scope
from collector.http.query_params import format_cursor
from collector.model import Filter, PodRows
from collector.pages.page_params import (
    fork_query_or_error,
    list_query_or_error,
    pod_filter_or_error,
    read_parameters,
    span_or_error,
)
from collector.pages.rendering import Rendering, html_response
from collector.pages.signin import SignIn
from collector.query import StoreReader
from collector.views.formatting import visible
from collector.views.lineage.forest import forest
from collector.views.lineage.name_pairs import pairs_json
from collector.views.lineage.tables import pair_rows
from collector.views.links import PodListQuery, pod_parameters, search_href
from collector.views.nodes.node_card import node_card
from collector.views.nodes.node_pages import find_node, ledger_model, nodes_model
from collector.views.pods.entries import host_detail, pod_detail
from collector.views.pods.list_page import pods_model
from collector.views.pods.pod_page import host_model, lineage_model, pod_model, range_model
from collector.views.pods.workload_page import WorkloadName, workload_model
from collector.views.search_page import search_model
from collector.views.timeline.lanes import step_for
from collector.views.timeline.series import align
from collector.views.times import SECOND

__all__ = ["Pages"]

MAX_PODS: Final = 1000  # read for one page, the most recently seen
MAX_PODS_OF_WORKLOAD: Final = 120  # side by side
LATEST_FORKS: Final = 50  # on a pod's page
MAX_TASKS: Final = 1000  # processes in a lineage
MAX_PAIRS: Final = 30
FOUND_FORKS: Final = 100  # on a page of the search
POD_RANGE: Final = "-15m"  # a pod's page begins here by default
SEARCH_RANGE: Final = "-1h"  # the search begins here by default, as /v1/forks does
MAX_TEXT: Final = 300  # characters of a text that is searched in names
NO_POD: Final = "There is no such pod here. Pods are kept for the retention."
NO_WORKLOAD: Final = "There is no pod of such a workload here."
NO_NODE: Final = "There is no node of that name here."

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Pages:
    """For clients that may read; others get the sign-in page."""

    def __init__(self, reader: StoreReader, access: Access) -> None:
        self._reader, self._access = reader, access
        self._rendering = Rendering()
        self._signin = SignIn(self._rendering, access)

    def add_routes(self, router: web.UrlDispatcher) -> None:
        for path, handler in (
            ("/", self._pods),
            ("/pods/{namespace}/{pod}", self._pod_by_name),
            (r"/pod/{id:\d{1,20}}", self._pod_by_id),
            ("/workloads/{namespace}/{kind}/{name}", self._workload),
            ("/nodes", self._nodes),
            ("/nodes/{node}", self._node),
            ("/ledger", self._ledger),
            ("/search", self._search),
        ):
            router.add_get(path, self._for_readers(handler))
        router.add_get("/static/{name}", self._file)
        self._signin.add_routes(router)

    def _for_readers(self, handler: Handler) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            if self._access.may(request, Scope.READ):
                return await handler(request)
            return self._signin.form(request, request.rel_url.raw_path_qs.lstrip("/"))

        return handle

    async def _pods(self, request: web.Request) -> web.Response:
        (list_query, error), now = list_query_or_error(read_parameters(request)), time.time_ns()
        snapshot = await self._reader.pods(MAX_PODS, list_query.filter)
        address = visible(f"{self._access.scheme(request)}://{request.host}/v1/events"[:300])
        return await self._page(
            "pods",
            request,
            lambda: {"model": pods_model(snapshot, list_query, now), "error": visible(error), "address": address},
        )

    async def _pod_by_name(self, request: web.Request) -> web.Response:
        names = request.match_info
        pods, error = pod_filter_or_error(read_parameters(request))
        page = await self._reader.pod(names["namespace"], names["pod"], LATEST_FORKS, pods.cluster, pods.pod_uid)
        return await self._pod(request, page, error)

    async def _pod_by_id(self, request: web.Request) -> web.Response:
        return await self._pod(request, await self._reader.pod_by_id(int(request.match_info["id"]), LATEST_FORKS))

    async def _pod(self, request: web.Request, page: PodRows | None, error: str = "") -> web.Response:
        if page is None or not page.snapshot.pods:
            return await self._unknown(request, NO_POD)
        parameters, now = read_parameters(request), time.time_ns()
        span, range_error = span_or_error(parameters, now, POD_RANGE)
        step = step_for(span, page.snapshot.points)
        aligned, (pod,) = align(span, step), page.snapshot.pods
        timeline, tasks, pairs = await asyncio.gather(
            self._reader.timeline(pod.id, aligned, step),
            self._reader.lineage(pod.id, span, MAX_TASKS + 1),  # one more: are there others?
            self._reader.pairs(pod.id, span, MAX_PAIRS),
        )

        def model() -> dict[str, Any]:
            detail = pod_detail(page, now)
            newest = sorted(tasks, key=lambda task: -task.time)[:MAX_TASKS]
            search = {name: value for name in ("cluster", "namespace", "pod", "pod_uid") if (value := detail[name])}
            search |= {name: parameters[name] for name in ("from", "to") if name in parameters}
            identity = pod_parameters(parameters.get("cluster"), parameters.get("pod_uid"))
            return {
                "model": pod_model(detail, timeline, aligned, step, now),
                "range": range_model(parameters.get("from", ""), parameters.get("to", ""), span, step, identity),
                "lineage": lineage_model(forest(newest), MAX_TASKS, cut=len(tasks) > MAX_TASKS),
                "span": [moment / SECOND for moment in aligned],
                "pairs": pair_rows(pairs_json(pairs), search),
                "search": search_href(**search),
                "error": visible(error or range_error),
            }

        return await self._page("pod", request, model)

    async def _workload(self, request: web.Request) -> web.Response:
        names, (pods, _) = request.match_info, pod_filter_or_error(read_parameters(request))
        workload = WorkloadName(pods.cluster, names["namespace"], names["kind"], names["name"])
        snapshot, now = await self._reader.workload(*workload, MAX_PODS_OF_WORKLOAD), time.time_ns()
        if not snapshot.pods:
            return await self._unknown(request, NO_WORKLOAD)
        return await self._page("workload", request, lambda: {"model": workload_model(snapshot, workload, now)})

    async def _nodes(self, request: web.Request) -> web.Response:
        ledger, text = await self._reader.ledger(), read_parameters(request).get("text", "")[:MAX_TEXT]
        return await self._page("nodes", request, lambda: {"model": nodes_model(ledger, text, time.time_ns())})

    async def _node(self, request: web.Request) -> web.Response:
        pods, _ = pod_filter_or_error(read_parameters(request))
        ledger, now = await self._reader.ledger(), time.time_ns()
        found = find_node(ledger, pods.cluster, request.match_info["node"], now)
        if found is None:
            return await self._unknown(request, NO_NODE)
        cluster, node = found.entry["cluster"], found.entry["node"]
        host_page = await self._reader.host(cluster, node, LATEST_FORKS)

        def model() -> dict[str, Any]:
            host = host_detail(host_page, cluster, node, now)
            return {
                "card": node_card(found.entry, found.streams, now),
                "model": host_model(host) if host else None,
                "pods_href": PodListQuery(Filter(cluster=cluster, node=node)).href(),
            }

        return await self._page("node", request, model)

    async def _ledger(self, request: web.Request) -> web.Response:
        ledger, text = await self._reader.ledger(), read_parameters(request).get("text", "")[:MAX_TEXT]
        return await self._page("ledger", request, lambda: {"model": ledger_model(ledger, text, time.time_ns())})

    async def _search(self, request: web.Request) -> web.Response:
        parameters, now = read_parameters(request), time.time_ns()
        query, place, error = fork_query_or_error(parameters, now, SEARCH_RANGE) if parameters else (None, None, "")
        found, after = None, ""
        if query is not None:
            found = await self._reader.search(query, FOUND_FORKS + 1, place)  # one more: is there a next page?
            after = format_cursor(found[FOUND_FORKS - 1].place) if len(found) > FOUND_FORKS else ""
            found = found[:FOUND_FORKS]
        within, entered = query.span if query else None, list(parameters.items())
        return await self._page("search", request, lambda: {"model": search_model(entered, found, after, within, error)})

    async def _unknown(self, request: web.Request, text: str) -> web.Response:
        return await self._page("unknown", request, lambda: {"text": text}, 404)

    async def _page(
        self, name: str, request: web.Request, model: Callable[[], dict[str, Any]], status: int = 200
    ) -> web.Response:
        """`model` is made and rendered in a thread, as both take long when there are many rows."""
        signed_in = self._access.required and self._access.user(request) is None
        body = await asyncio.to_thread(lambda: self._rendering.page(name, request, token=signed_in, **model()))
        return html_response(body, status)

    async def _file(self, request: web.Request) -> web.Response:
        return self._rendering.file(request)
