"""Who the agents are: the verifier of their service accounts' tokens, and the task that keeps its keys up to date."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

from aiohttp import web

from collector.http.service_accounts import Cluster, KeySources, TokenVerifier
from collector.settings import ClusterSettings, Settings

__all__ = ["reading_keys", "verifier"]


def verifier(settings: Settings) -> TokenVerifier | None:
    """None where no cluster is set."""
    if not settings.clusters:
        return None
    return TokenVerifier(KeySources([_cluster(one) for one in settings.clusters]), settings.audience)


def reading_keys(verifier: TokenVerifier) -> Callable[[web.Application], AsyncIterator[None]]:
    """Reads the keys before the first request, and again for as long as the application runs."""

    async def life(_app: web.Application) -> AsyncIterator[None]:
        await verifier.sources.refresh()
        task = asyncio.create_task(verifier.sources.run(), name="keys")
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    return life


def _cluster(settings: ClusterSettings) -> Cluster:
    fields = settings.model_dump()
    jwks = settings.jwks
    return Cluster(**fields | {"jwks": Path(jwks) if jwks and jwks.startswith("/") else jwks})
