"""Where the parts of a running collector are kept in its aiohttp application."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from collector.http.access import Access
from collector.http.limits import RateLimit
from collector.http.metrics import Metrics
from collector.ingest.endpoint import IngestEndpoint
from collector.query import StoreReader
from collector.store import Store

__all__ = ["ACCESS", "API_RATE", "INGEST", "METRICS", "PAGE_RATE", "READER", "STORE"]

ACCESS: Final = web.AppKey("access", Access)
API_RATE: Final = web.AppKey("api_rate", RateLimit)
INGEST: Final = web.AppKey("ingest", IngestEndpoint)
METRICS: Final = web.AppKey("metrics", Metrics)
PAGE_RATE: Final = web.AppKey("page_rate", RateLimit)
READER: Final = web.AppKey("reader", StoreReader)
STORE: Final = web.AppKey("store", Store)
