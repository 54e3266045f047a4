"""What readers may ask of pods and nodes: the list, one pod, its tree, its timeline, the ledger.

Must not live here: what an answer holds (`views`), single forks (`search`, `stream`).
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

from aiohttp import web

from collector.http.query_params import FILTERS, InvalidParameter, Query, allow_only, duration, pod_filter, span, whole
from collector.http.responses import json_response, refuse
from collector.model import PodPage
from collector.store import Store
from collector.views.nodes.ledger import ledger_json, node_entries
from collector.views.pods.entries import host_entries, pod_entries, pod_json
from collector.views.pods.lineage import forest
from collector.views.pods.pairs import pairs_json
from collector.views.pods.sandboxes import is_observable, without_counts
from collector.views.timeline.series import aligned, timeline_json, usual_step
from collector.views.times import SECOND, stamp

__all__ = ["Readers"]

PODS: Final = 1000  # told at once at most, by default
LATEST: Final = 100  # forks told with a pod, by default
MOST: Final = 1000  # of either that may be asked for
TREE: Final = 1000  # processes of a tree, by default
TREE_MOST: Final = 10_000  # some 2 MB of JSON
PAIRS: Final = 100  # pairs told with a tree
TOLD: Final = 1000  # gaps and storms that are looked through for a timeline
STEPS: Final = 2000  # of a timeline
LOOKS_BACK: Final = "-1h"  # from when, by default
EXACTLY: Final = ("cluster", "pod_uid")  # where several pods have one name


class Readers:
    def __init__(self, store: Store) -> None:
        self._store = store

    def open(self, router: web.UrlDispatcher) -> None:
        router.add_get("/v1/pods", self._pods)
        router.add_get("/v1/pods/{namespace}/{pod}", self._pod)
        router.add_get("/v1/pods/{namespace}/{pod}/tree", self._tree)
        router.add_get("/v1/pods/{namespace}/{pod}/timeline", self._timeline)
        router.add_get("/v1/ledger", self._ledger)

    async def _pods(self, request: web.Request) -> web.Response:
        query: Query = request.query
        allow_only(query, (*FILTERS, "limit"))
        wish, limit = pod_filter(query), whole(query, "limit", PODS, 1, MOST)
        snapshot, now = await self._store.pods(limit, wish), time.time_ns()

        def answer() -> web.Response:
            return json_response(
                {
                    "pods": [without_counts(pod) for pod in pod_entries(snapshot, now)],
                    "pods_in_all": snapshot.pods_in_all,
                    "host": host_entries(snapshot, now),
                    "nodes": node_entries(snapshot.ledger, now),
                }
            )

        return await asyncio.to_thread(answer)

    async def _pod(self, request: web.Request) -> web.Response:
        allow_only(request.query, ("limit", *EXACTLY))
        page = await self._page(request, whole(request.query, "limit", LATEST, 1, MOST))
        return json_response(without_counts(pod_json(page, time.time_ns())))

    async def _tree(self, request: web.Request) -> web.Response:
        query: Query = request.query
        allow_only(query, ("from", "to", "limit", *EXACTLY))
        wish, limit = span(query, time.time_ns(), LOOKS_BACK), whole(query, "limit", TREE, 1, TREE_MOST)
        page = await self._page(request, 1)
        (pod,) = page.snapshot.pods
        rows = await self._store.lineage(pod.id, wish, limit + 1)  # one more: is there anything that is cut off?
        rows.sort(key=lambda row: -row.time)
        grown = await asyncio.to_thread(forest, rows[:limit])
        pairs = await self._store.pairs(pod.id, wish, PAIRS)
        return json_response(
            {
                **_whose(page),
                "from": stamp(wish.start),
                "to": stamp(wish.end),
                "roots": grown.roots,
                "pairs": pairs_json(pairs),
                "processes": grown.processes,
                "depth": grown.depth,
                "fan_out": grown.fan_out,
                "cut": len(rows) > limit,
            }
        )

    async def _timeline(self, request: web.Request) -> web.Response:
        query: Query = request.query
        allow_only(query, ("from", "to", "step", *EXACTLY))
        now = time.time_ns()
        asked = span(query, now, LOOKS_BACK)
        step = duration(query, "step", usual_step(asked))
        wish = aligned(asked, step)
        if step < SECOND or (wish.end - wish.start) // step > STEPS:
            raise InvalidParameter(f"step: a second at least, and long enough for {STEPS} steps between from and to")
        page = await self._page(request, TOLD)
        whose, (pod,) = _whose(page), page.snapshot.pods
        rows = await self._store.timeline(pod.id, wish, step) if whose["observable"] else []
        return json_response({**whose, **await asyncio.to_thread(timeline_json, page, rows, wish, step, now)})

    async def _ledger(self, request: web.Request) -> web.Response:
        allow_only(request.query, ())
        ledger = await self._store.ledger()
        return json_response(await asyncio.to_thread(ledger_json, ledger, time.time_ns()))

    async def _page(self, request: web.Request, limit: int) -> PodPage:
        """The newest pod of that name, in that cluster and of that uid, where they are said."""
        named, wish = request.match_info, pod_filter(request.query)
        page = await self._store.pod(named["namespace"], named["pod"], limit, wish.cluster, wish.pod_uid)
        if page is None:
            exactly = ", of that cluster and uid," if wish.cluster or wish.pod_uid else ""
            refuse(404, f"no pod of that name{exactly} has been heard of; names are kept for the retention")
        return page


def _whose(page: PodPage) -> dict[str, Any]:
    """Which pod was meant, and how many others have its name."""
    (pod,) = page.snapshot.pods
    seen = is_observable(loss for loss in page.snapshot.losses if loss.pod == pod.id)
    return {"cluster": pod.cluster, "pod_uid": pod.uid, "others": len(page.others), "observable": seen}
