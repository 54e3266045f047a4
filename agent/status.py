"""What the agent says of itself: /healthz /readyz /metrics, /v1/pods /v1/ledger.

Ready means capturing. A sink's 401 or an API server that is away is text and a metric, not unreadiness: one bad token must not
hold up a rollout. Must not live here: the numbers' making.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import orjson
from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.process_collector import ProcessCollector

__all__ = ["Reports", "status_app"]

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Reports(Protocol):
    """What the pipeline can say of itself at any time, without waiting."""

    @property
    def begun(self) -> bool:
        """Whether there is anything to tell yet."""
        ...

    def alive(self) -> str | None:
        """None when the loop turns; else what hangs."""

    def ready(self) -> str | None:
        """None when capturing; else why not."""

    def ledger(self) -> dict[str, Any]: ...

    def pods(self) -> dict[str, Any]: ...

    def gauges(self) -> dict[str, float]: ...


class _Metrics:
    """prometheus-client's collector protocol: reads at scrape time, keeps nothing."""

    def __init__(self, reports: Reports) -> None:
        self._reports = reports

    def collect(self) -> Iterator[Metric]:
        ledger = self._reports.ledger()
        captured = CounterMetricFamily("forklore_captured_forks", "Tasks made, as the kernel counts.", labels=["kind"])
        captured.add_metric(["process"], ledger["processes"])
        captured.add_metric(["thread"], ledger["threads"])
        yield captured
        yield CounterMetricFamily("forklore_suppressed_forks", "Held back by a storm limit, and counted.", ledger["suppressed"])
        lost = CounterMetricFamily("forklore_lost_forks", "Forks that no event tells of.", labels=["sink", "reason"])
        filtered = CounterMetricFamily("forklore_filtered_forks", "Forks that nobody asked for.", labels=["reason"])
        delivered = CounterMetricFamily("forklore_delivered_forks", "Forks that the sink has taken.", labels=["sink"])
        queued = GaugeMetricFamily("forklore_queued_forks", "Forks on their way to the sink.", labels=["sink", "where"])
        answers = CounterMetricFamily("forklore_sink_answers", "What the sink answered.", labels=["sink", "answer"])
        waits = GaugeMetricFamily("forklore_journal_bytes", "Compressed bodies that wait for the sink.", labels=["sink"])
        for reason, count in ledger["filtered"].items():
            filtered.add_metric([reason], count)
        for reason, count in ledger["lost"].items():
            lost.add_metric(["", reason], count)
        for name, sink in ledger["sinks"].items():
            delivered.add_metric([name], sink["delivered"])
            waits.add_metric([name], sink["journal_bytes"])
            for where, count in sink["queued"].items():
                queued.add_metric([name, where], count)
            for reason, count in sink["lost"].items():
                lost.add_metric([name, reason], count)
            for answer, count in sink["answers"].items():
                answers.add_metric([name, answer], count)
        yield from (lost, filtered, delivered, queued, answers, waits)
        enriched = CounterMetricFamily("forklore_enriched_forks", "Forks by how they were identified.", labels=["state"])
        for state, count in ledger["enrichment"].items():
            enriched.add_metric([state], count)
        requests = CounterMetricFamily("forklore_kubernetes_requests", "API requests, and what ended them.", labels=["what"])
        for what, count in ledger["kubernetes"]["requests"].items():
            requests.add_metric([what], count)
        yield from (enriched, requests)
        for name, value in self._reports.gauges().items():
            yield GaugeMetricFamily(f"forklore_{name}", name.replace("_", " ") + ".", value)
        yield InfoMetricFamily("forklore_agent", "The agent.", {**ledger["agent"], "node": ledger["node"]})


def status_app(reports: Reports, token_file: Path | None) -> web.Application:
    registry = CollectorRegistry()
    registry.register(_Metrics(reports))
    ProcessCollector(registry=registry)

    async def healthz(_request: web.Request) -> web.Response:
        return _verdict(reports.alive())

    async def readyz(_request: web.Request) -> web.Response:
        return _verdict(reports.ready())

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def ledger(_request: web.Request) -> web.Response:
        return _json(reports.ledger())

    async def pods(_request: web.Request) -> web.Response:
        return _json(reports.pods())

    app = web.Application(middlewares=[_guard(reports, token_file)], client_max_size=1024)
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/v1/ledger", ledger)
    app.router.add_get("/v1/pods", pods)
    return app


def _guard(reports: Reports, token_file: Path | None) -> Callable[..., Awaitable[web.StreamResponse]]:
    @web.middleware
    async def guard(request: web.Request, handler: _Handler) -> web.StreamResponse:
        if not reports.begun and not request.path.endswith("z"):
            return web.Response(status=503, text="capture is about to begin\n")
        if token_file is not None and request.path.startswith("/v1/"):
            try:
                token = _token(token_file)
            except OSError as error:
                return web.Response(status=503, text=f"the status token can't be read: {error.strerror}\n")
            given = request.headers.get("Authorization", "").encode(errors="replace")
            if not token or not hmac.compare_digest(given, b"Bearer " + token):
                return web.Response(status=401, text="wants the bearer token\n", headers={"WWW-Authenticate": "Bearer"})
        return await handler(request)

    return guard


def _token(file: Path) -> bytes:
    return file.read_bytes().strip()


def _verdict(trouble: str | None) -> web.Response:
    return web.Response(text="ok\n") if trouble is None else web.Response(status=503, text=trouble + "\n")


def _json(value: object) -> web.Response:
    return web.Response(body=orjson.dumps(value), content_type="application/json")
