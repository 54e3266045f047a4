"""The requests for pods: list, watch and get. The only module that imports the Kubernetes client."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
from kubernetes.aio import client, config
from kubernetes.aio.client.exceptions import ApiException

__all__ = ["REQUEST_ERRORS", "ApiException", "PodRequests", "check_status", "connect", "describe", "retry_after_s"]

# What a request may raise when the API, the network or the settings are at fault; the caller tries again.
REQUEST_ERRORS: Final = (ApiException, aiohttp.ClientError, OSError, TimeoutError, config.ConfigException, ValueError)
_LONGEST_RETRY_AFTER_S: Final = 60.0


class PodRequests:
    """Requests through the client's own transport.

    The client's CoreV1Api would send the same, but takes 23 MB and half a second for its thousand other methods.
    """

    def __init__(self, api: client.ApiClient) -> None:
        self._api = api

    @property
    def server(self) -> str:
        return str(self._api.configuration.host)

    async def pods(self, *, timeout: float, **query: Any) -> aiohttp.ClientResponse:  # noqa: ANN401, ASYNC109  the API's own; the client's
        """GET /api/v1/pods; the body is not read yet. `query`: by the API's names; None is left out. `timeout`: seconds."""
        given = [(name, value) for name, value in query.items() if value is not None]
        return await self._get("/api/v1/pods", given, timeout)

    async def pod(self, namespace: str, name: str, *, timeout: float) -> aiohttp.ClientResponse:  # noqa: ASYNC109  the client's
        return await self._get(f"/api/v1/namespaces/{namespace}/pods/{name}", [], timeout)

    async def _get(self, path: str, query: list[tuple[str, Any]], timeout: float) -> aiohttp.ClientResponse:  # noqa: ASYNC109
        request = await self._api.param_serialize(
            method="GET",
            resource_path=path,
            query_params=query,
            header_params={"Accept": "application/json"},
            auth_settings=["BearerToken"],
        )
        answer = await self._api.call_api(*request, _request_timeout=timeout)
        response: aiohttp.ClientResponse = answer.response
        return response


@asynccontextmanager
async def connect(kubeconfig: Path | None) -> AsyncIterator[PodRequests]:
    """A client for some requests. `kubeconfig` None: the pod's own service account. Raises one of REQUEST_ERRORS."""
    # Read at each call, so that the next try uses a token or certificate that was replaced.
    settings = client.Configuration()
    try:
        if kubeconfig is not None:
            await config.load_kube_config(config_file=str(kubeconfig), client_configuration=settings)
        else:
            config.load_incluster_config(client_configuration=settings)
    except config.ConfigException:
        raise
    except Exception as error:  # not YAML, or YAML of another shape: the client raises whatever it runs into
        raise config.ConfigException(f"{kubeconfig}: {type(error).__name__}: {error}") from error
    settings.retries = None
    async with client.ApiClient(settings) as api:
        yield PodRequests(api)


def check_status(status: int, text: bytes, headers: Mapping[str, str]) -> None:
    """Raises ApiException unless the status is 200."""
    if status != 200:
        error = ApiException(status=status, reason=text[:200].decode(errors="replace"))
        error.headers = headers
        raise error


def retry_after_s(error: Exception) -> float:
    """The pause that the server asks for, seconds, at most a minute. The API server always sends a number of seconds."""
    value = (getattr(error, "headers", None) or {}).get("Retry-After", "")
    return min(float(value), _LONGEST_RETRY_AFTER_S) if re.fullmatch(r"[0-9]{1,6}", value) else 0.0


def describe(error: Exception) -> str:
    """One line for people."""
    if isinstance(error, ApiException):
        hints = {401: "the token is not accepted", 403: "may not list and watch pods: is the ClusterRole bound?"}
        return f"answered {error.status} ({hints.get(error.status, str(error.reason)[:120])})"
    return f"{type(error).__name__}: {str(error)[:160]}"
