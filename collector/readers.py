"""What readers may ask of pods and nodes: the list, one pod, its tree, its timeline, the ledger.

Must not live here: what an answer holds (`views`), single forks (`search`, `stream`).
"""

from __future__ import annotations

import asyncio
import time
from typing import Final, NoReturn

from aiohttp import web

from collector.answers import failed, told
from collector.questions import FILTERS, Query, Wrong, duration, only, pod_filter, span, whole
from collector.store import Store
from collector.views.ledger import ledger_json, node_entries
from collector.views.lineage import forest
from collector.views.pairs import pairs_json
from collector.views.pods import host_entries, pod_entries, pod_json
from collector.views.sandboxes import is_observable, without_counts
from collector.views.timelines import aligned, timeline_json, usual_step
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
        only(query, (*FILTERS, "limit"))
        wish, limit = pod_filter(query), whole(query, "limit", PODS, 1, MOST)
        snapshot, now = await self._store.pods(limit, wish), time.time_ns()

        def answer() -> web.Response:
            return told(
                {
                    "pods": [without_counts(pod) for pod in pod_entries(snapshot, now)],
                    "pods_in_all": snapshot.pods_in_all,
                    "host": host_entries(snapshot, now),
                    "nodes": node_entries(snapshot.ledger, now),
                }
            )

        return await asyncio.to_thread(answer)

    async def _pod(self, request: web.Request) -> web.Response:
        only(request.query, ("limit",))
        page = await self._store.pod(*_name(request), whole(request.query, "limit", LATEST, 1, MOST))
        return told(without_counts(pod_json(page or _unknown(), time.time_ns())))

    async def _tree(self, request: web.Request) -> web.Response:
        query: Query = request.query
        only(query, ("from", "to", "limit", "cluster", "pod_uid"))
        wish, limit = span(query, time.time_ns(), LOOKS_BACK), whole(query, "limit", TREE, 1, TREE_MOST)
        pod, observable = await self._found(request)
        rows = await self._store.lineage(pod, wish, limit + 1)  # one more: is there anything that is cut off?
        rows.sort(key=lambda row: -row.time)
        grown = await asyncio.to_thread(forest, rows[:limit])
        pairs = await self._store.pairs(pod, wish, PAIRS)
        return told(
            {
                "from": stamp(wish.start),
                "to": stamp(wish.end),
                "roots": grown.roots,
                "pairs": pairs_json(pairs),
                "processes": grown.processes,
                "depth": grown.depth,
                "fan_out": grown.fan_out,
                "cut": len(rows) > limit,
                "observable": observable,
            }
        )

    async def _timeline(self, request: web.Request) -> web.Response:
        query: Query = request.query
        only(query, ("from", "to", "step", "cluster", "pod_uid"))
        now = time.time_ns()
        asked = span(query, now, LOOKS_BACK)
        step = duration(query, "step", usual_step(asked))
        wish = aligned(asked, step)
        if step < SECOND or (wish.end - wish.start) // step > STEPS:
            raise Wrong(f"step: a second at least, and long enough for {STEPS} steps between from and to")
        pod, observable = await self._found(request)
        page = await self._store.pod_by_id(pod, TOLD) or _unknown()
        rows = await self._store.timeline(pod, wish, step)
        lines = await asyncio.to_thread(timeline_json, page, rows if observable else [], wish, step, now)
        return told({**lines, "observable": observable})

    async def _ledger(self, request: web.Request) -> web.Response:
        only(request.query, ())
        ledger = await self._store.ledger()
        return told(await asyncio.to_thread(ledger_json, ledger, time.time_ns()))

    async def _found(self, request: web.Request) -> tuple[int, bool]:
        """The newest pod of that name, in that cluster and of that uid, where they are said; and whether it is observable."""
        namespace, name = _name(request)
        wish = pod_filter(request.query)._replace(namespace=namespace, pod=name)
        snapshot = await self._store.pods(1, wish)
        if not snapshot.pods:
            _unknown()
        pod = snapshot.pods[0].id
        return pod, is_observable(loss for loss in snapshot.losses if loss.pod == pod)


def _name(request: web.Request) -> tuple[str, str]:
    return request.match_info["namespace"], request.match_info["pod"]


def _unknown() -> NoReturn:
    failed(404, "no pod of that name has been heard of; names are kept for the retention")
