"""`/v1/pods` and what is beneath it: the list, one pod, its tree, its timeline; and `/v1/ledger`."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from aiohttp import web

from collector.http.query_params import (
    POD_PARAMETERS,
    InvalidParameter,
    Query,
    allow_only,
    parse_duration,
    parse_integer,
    parse_pod_filter,
    parse_span,
)
from collector.http.responses import json_response, refuse
from collector.model import PodRows
from collector.query import StoreReader
from collector.views.lineage.forest import forest
from collector.views.lineage.name_pairs import pairs_json
from collector.views.nodes.ledger import ledger_json, node_entries
from collector.views.pods.entries import host_entries, pod_detail, pod_entries
from collector.views.pods.pod_timeline import timeline_json
from collector.views.pods.sandboxes import is_observable, without_counts, without_detail_counts
from collector.views.timeline.series import align, default_step
from collector.views.times import SECOND, stamp
from wire.api import ForkTree, PodIdentity, PodList

__all__ = ["PodsApi"]

PODS: Final = 1000  # in a list, by default
LATEST_FORKS: Final = 100  # of one pod, by default
MAX_ENTRIES: Final = 1000  # of either
PROCESSES: Final = 1000  # in a tree, by default
MAX_PROCESSES: Final = 10_000  # some 2 MB of JSON
PAIRS: Final = 100  # in a tree
GAPS_AND_STORMS: Final = 1000  # of a pod, that are read for a timeline
MAX_STEPS: Final = 2000  # of a timeline
DEFAULT_START: Final = "-1h"
IDENTITY: Final = ("cluster", "pod_uid")  # select one of several pods of one name


class PodsApi:
    def __init__(self, reader: StoreReader) -> None:
        self._reader = reader

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_get("/v1/pods", self._pods)
        router.add_get("/v1/pods/{namespace}/{pod}", self._pod)
        router.add_get("/v1/pods/{namespace}/{pod}/tree", self._tree)
        router.add_get("/v1/pods/{namespace}/{pod}/timeline", self._timeline)
        router.add_get("/v1/ledger", self._ledger)

    async def _pods(self, request: web.Request) -> web.Response:
        query: Query = request.query
        allow_only(query, (*POD_PARAMETERS, "limit"))
        pods, limit = parse_pod_filter(query), parse_integer(query, "limit", PODS, 1, MAX_ENTRIES)
        snapshot, now = await self._reader.pods(limit, pods), time.time_ns()

        def answer() -> web.Response:
            pod_list: PodList = {
                "pods": [without_counts(pod) for pod in pod_entries(snapshot, now)],
                "pods_in_all": snapshot.pods_in_all,
                "host": host_entries(snapshot, now),
                "nodes": node_entries(snapshot.ledger, now),
            }
            return json_response(pod_list)

        return await asyncio.to_thread(answer)

    async def _pod(self, request: web.Request) -> web.Response:
        allow_only(request.query, ("limit", *IDENTITY))
        page = await self._pod_rows(request, parse_integer(request.query, "limit", LATEST_FORKS, 1, MAX_ENTRIES))
        return json_response(without_detail_counts(pod_detail(page, time.time_ns())))

    async def _tree(self, request: web.Request) -> web.Response:
        query: Query = request.query
        allow_only(query, ("from", "to", "limit", *IDENTITY))
        span = parse_span(query, time.time_ns(), DEFAULT_START)
        limit = parse_integer(query, "limit", PROCESSES, 1, MAX_PROCESSES)
        page = await self._pod_rows(request, 1)
        (pod,) = page.snapshot.pods
        rows, pairs = await asyncio.gather(
            self._reader.lineage(pod.id, span, limit + 1),  # one more: are there others?
            self._reader.pairs(pod.id, span, PAIRS),
        )
        rows.sort(key=lambda row: -row.time)
        trees = await asyncio.to_thread(forest, rows[:limit])
        tree: ForkTree = {
            **_identity(page),
            "from": stamp(span.start),
            "to": stamp(span.end),
            "roots": trees.roots,
            "pairs": pairs_json(pairs),
            "processes": trees.processes,
            "depth": trees.depth,
            "fan_out": trees.fan_out,
            "cut": len(rows) > limit,
        }
        return json_response(tree)

    async def _timeline(self, request: web.Request) -> web.Response:
        query: Query = request.query
        allow_only(query, ("from", "to", "step", *IDENTITY))
        now = time.time_ns()
        asked = parse_span(query, now, DEFAULT_START)
        step = parse_duration(query, "step", default_step(asked))
        span = align(asked, step)
        if step < SECOND or (span.end - span.start) // step > MAX_STEPS:
            raise InvalidParameter(f"step: a second at least, and long enough for {MAX_STEPS} steps between from and to")
        page = await self._pod_rows(request, GAPS_AND_STORMS)
        identity, (pod,) = _identity(page), page.snapshot.pods
        rows = await self._reader.timeline(pod.id, span, step) if identity["observable"] else []
        return json_response(await asyncio.to_thread(timeline_json, page, identity, rows, span, step, now))

    async def _ledger(self, request: web.Request) -> web.Response:
        allow_only(request.query, ())
        ledger = await self._reader.ledger()
        return json_response(await asyncio.to_thread(ledger_json, ledger, time.time_ns()))

    async def _pod_rows(self, request: web.Request, limit: int) -> PodRows:
        """The newest pod of that name, and of that cluster and uid where they are given."""
        names, pods = request.match_info, parse_pod_filter(request.query)
        page = await self._reader.pod(names["namespace"], names["pod"], limit, pods.cluster, pods.pod_uid)
        if page is None:
            exactly = ", of that cluster and uid," if pods.cluster or pods.pod_uid else ""
            refuse(404, f"no pod of that name{exactly} is stored here; pods are kept for the retention")
        return page


def _identity(page: PodRows) -> PodIdentity:
    (pod,) = page.snapshot.pods
    observable = is_observable(loss for loss in page.snapshot.losses if loss.pod == pod.id)
    return {"cluster": pod.cluster, "pod_uid": pod.uid, "others": len(page.others), "observable": observable}
