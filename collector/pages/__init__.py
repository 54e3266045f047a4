"""The pages: pods, a pod, a workload, nodes, a node, the ledger, the search. Each is one look at the store, rendered here.

A page keeps itself by fetching its own address again whenever /v1/stream says that there is something new. Must not live here:
what a page says (`collector.views`), any word in HTML that is not in `templates/`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiohttp import web

from collector.http.access import Access, Scope
from collector.http.query_params import cursor
from collector.model import Filter, PodPage
from collector.pages.rendering import Rendering, html
from collector.pages.request_params import asked_forks, asked_pod, asked_range, asked_wish, words_of
from collector.pages.signin import SignIn
from collector.store import Store
from collector.views.links import PodListQuery, exactly, search_href
from collector.views.nodes.cards import node_card
from collector.views.nodes.pages import ledger_model, node_of, nodes_model
from collector.views.pods.entries import host_json, pod_json
from collector.views.pods.lineage import forest
from collector.views.pods.list_page import pods_model
from collector.views.pods.pairs import pairs_json
from collector.views.pods.pod_page import host_model, pod_model, range_model
from collector.views.pods.tree import forest_rows, pair_rows
from collector.views.pods.workload_page import workload_model
from collector.views.search_page import search_model
from collector.views.timeline.lanes import step_of
from collector.views.timeline.series import aligned
from collector.views.times import SECOND, stamp
from collector.views.words import number, visible

__all__ = ["Pages"]

PODS: Final = 1000  # looked at for one page, the most recently seen
PODS_OF_WORKLOAD: Final = 120  # side by side: more is no glance
LATEST: Final = 50  # forks on a pod's page
TASKS: Final = 1000  # processes in a lineage
PAIRS: Final = 30
FOUND: Final = 100  # forks on a page of the search
LOOKS_BACK: Final = "-15m"  # a pod's page, by default
SEEKS_BACK: Final = "-1h"  # the search, as /v1/forks does
NO_POD: Final = "No such pod has been heard of. Names are kept for the retention."

Page = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Pages:
    """Open to those who may read; others are asked to sign in."""

    def __init__(self, store: Store, access: Access) -> None:
        self._store, self._access = store, access
        self._rendering = Rendering()
        self._signin = SignIn(self._rendering, access)

    def open(self, router: web.UrlDispatcher) -> None:
        for path, page in (
            ("/", self._pods),
            ("/pods/{namespace}/{pod}", self._pod_named),
            (r"/pod/{id:\d{1,20}}", self._pod_of_id),
            ("/workloads/{namespace}/{kind}/{name}", self._workload),
            ("/nodes", self._nodes),
            ("/nodes/{node}", self._node),
            ("/ledger", self._ledger),
            ("/search", self._search),
        ):
            router.add_get(path, self._guarded(page))
        router.add_get("/static/{name}", self._file)
        self._signin.open(router)

    def _guarded(self, page: Page) -> Page:
        async def guarded(request: web.Request) -> web.StreamResponse:
            if self._access.may(request, Scope.READ):
                return await page(request)
            return self._signin.ask(request, request.rel_url.raw_path_qs.lstrip("/"))

        return guarded

    async def _pods(self, request: web.Request) -> web.Response:
        (wish, wrong), now = asked_wish(words_of(request)), time.time_ns()
        snapshot = await self._store.pods(PODS, wish.filter)
        address = visible(f"{self._access.scheme(request)}://{request.host}/v1/events"[:300])
        return await self._page(
            "pods", request, lambda: {"model": pods_model(snapshot, wish, now), "wrong": visible(wrong), "address": address}
        )

    async def _pod_named(self, request: web.Request) -> web.Response:
        named, (cluster, uid, wrong) = request.match_info, asked_pod(words_of(request))
        page = await self._store.pod(named["namespace"], named["pod"], LATEST, cluster, uid)
        return await self._pod(request, page, wrong)

    async def _pod_of_id(self, request: web.Request) -> web.Response:
        return await self._pod(request, await self._store.pod_by_id(int(request.match_info["id"]), LATEST))

    async def _pod(self, request: web.Request, page: PodPage | None, wrong: str = "") -> web.Response:
        if page is None or not page.snapshot.pods:
            return await self._unknown(request, NO_POD)
        words, now = words_of(request), time.time_ns()
        within, wrong_range = asked_range(words, now, LOOKS_BACK)
        step = step_of(within, page.snapshot.points)
        wide, (pod,) = aligned(within, step), page.snapshot.pods
        lane_rows = await self._store.timeline(pod.id, wide, step)
        tasks = await self._store.lineage(pod.id, within, TASKS + 1)  # one more: is anything cut off?
        pairs = await self._store.pairs(pod.id, within, PAIRS)

        def words_and_model() -> dict[str, Any]:
            said = pod_json(page, now)
            grown = forest(sorted(tasks, key=lambda task: -task.time)[:TASKS])
            rows, hidden = forest_rows(grown.roots)
            fork_query = {name: said[name] for name in ("cluster", "namespace", "pod", "pod_uid") if said[name]}
            fork_query |= {name: words[name] for name in ("from", "to") if name in words}
            return {
                "model": pod_model(said, lane_rows, wide, step, now),
                "range": range_model(words.get("from", ""), words.get("to", ""), within, step, exactly(words)),
                "lineage": {
                    "rows": rows,
                    "hidden": f"{number(hidden)} more processes found no room here" if hidden else "",
                    "cut": f"of the newest {number(TASKS)} of this range" if len(tasks) > TASKS else "",
                    "processes": number(grown.processes),
                    "depth": number(grown.depth),
                    "fan_out": number(grown.fan_out),
                },
                "span": [moment / SECOND for moment in wide],
                "pairs": pair_rows(pairs_json(pairs), fork_query),
                "search": search_href(**fork_query),
                "wrong": visible(wrong or wrong_range),
            }

        return await self._page("pod", request, words_and_model)

    async def _workload(self, request: web.Request) -> web.Response:
        info = request.match_info
        names = request.query.get("cluster", "")[:300], info["namespace"], info["kind"], info["name"]
        snapshot, now = await self._store.workload(*names, PODS_OF_WORKLOAD), time.time_ns()
        if not snapshot.pods:
            return await self._unknown(request, "No pod of such a workload has been heard of.")
        return await self._page("workload", request, lambda: {"model": workload_model(snapshot, names, now)})

    async def _nodes(self, request: web.Request) -> web.Response:
        ledger, text = await self._store.ledger(), words_of(request).get("text", "")[:300]
        return await self._page("nodes", request, lambda: {"model": nodes_model(ledger, text, time.time_ns())})

    async def _node(self, request: web.Request) -> web.Response:
        node, cluster = request.match_info["node"], request.query.get("cluster")
        ledger, now = await self._store.ledger(), time.time_ns()
        entry = node_of(ledger, cluster, node, now)
        if entry is None:
            return await self._unknown(request, "No node of that name has been heard of.")
        host_page = await self._store.host(entry["cluster"], node, LATEST)

        def words_and_model() -> dict[str, Any]:
            host = host_json(host_page, entry["cluster"], node, now)
            return {
                "card": node_card(entry, entry["streams"], now),
                "model": host_model(host, now) if host else None,
                "pods_href": PodListQuery(Filter(cluster=entry["cluster"], node=node)).href(),
            }

        return await self._page("node", request, words_and_model)

    async def _ledger(self, request: web.Request) -> web.Response:
        ledger, text = await self._store.ledger(), words_of(request).get("text", "")[:300]
        return await self._page("ledger", request, lambda: {"model": ledger_model(ledger, text, time.time_ns())})

    async def _search(self, request: web.Request) -> web.Response:
        words, now = words_of(request), time.time_ns()
        fork_query, behind, wrong = asked_forks(words, now, SEEKS_BACK) if words else (None, None, "")
        found, after = None, ""
        if fork_query is not None:
            found = await self._store.search(fork_query, FOUND + 1, behind)  # one more: is there a next page?
            after = cursor(found[FOUND - 1].place) if len(found) > FOUND else ""
            found = found[:FOUND]
        within = (stamp(fork_query.span.start), stamp(fork_query.span.end)) if fork_query else None
        asked = list(words.items())
        return await self._page("search", request, lambda: {"model": search_model(asked, found, after, within, wrong)})

    async def _unknown(self, request: web.Request, words: str) -> web.Response:
        return await self._page("unknown", request, lambda: {"words": words}, 404)

    async def _page(
        self, name: str, request: web.Request, model: Callable[[], dict[str, Any]], status: int = 200
    ) -> web.Response:
        """`model` is made and rendered in a thread: with many rows both take a while."""
        token = self._access.wanted and self._access.user(request) is None
        body = await asyncio.to_thread(lambda: self._rendering.page(name, request, token=token, **model()))
        return html(body, status)

    async def _file(self, request: web.Request) -> web.Response:
        return self._rendering.file(request)
