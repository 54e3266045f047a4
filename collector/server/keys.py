"""Where the parts of a running collector are kept in its aiohttp application."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from collector.http.access import Access
from collector.http.limits import RateLimit
from collector.http.metrics import Metrics
from collector.http.service_accounts import TokenVerifier
from collector.ingest.endpoint import IngestEndpoint
from collector.query import StoreReader
from collector.store import Store
from wire.http.certificate import ServerCertificate
from wire.http.log_limit import LogLimit

__all__ = ["ACCESS", "AGENTS", "API_RATE", "CERTIFICATE", "INGEST", "METRICS", "PAGE_RATE", "READER", "REFUSALS", "STORE"]

ACCESS: Final = web.AppKey("access", Access)
AGENTS: Final = web.AppKey("agents", TokenVerifier)
API_RATE: Final = web.AppKey("api_rate", RateLimit)
CERTIFICATE: Final = web.AppKey("certificate", ServerCertificate)
INGEST: Final = web.AppKey("ingest", IngestEndpoint)
METRICS: Final = web.AppKey("metrics", Metrics)
PAGE_RATE: Final = web.AppKey("page_rate", RateLimit)
READER: Final = web.AppKey("reader", StoreReader)
REFUSALS: Final = web.AppKey("refusals", LogLimit)
STORE: Final = web.AppKey("store", Store)
