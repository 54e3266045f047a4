"""The requests for pods: list, watch and get. The only module that imports the Kubernetes client."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
from kubernetes.aio import client, config
from kubernetes.aio.client.exceptions import ApiException
from yarl import URL

from agent.attribution.pods.proxies import proxy_for
from wire.http.trust import tls_errors

__all__ = [
    "MAX_LIST",
    "REQUEST_ERRORS",
    "AnswerTooLarge",
    "ApiException",
    "PodRequests",
    "check_status",
    "connect",
    "describe",
    "read_answer",
    "retry_after_s",
]

# What a request may raise when the API, the network or the settings are at fault; the caller tries again.
REQUEST_ERRORS: Final = (ApiException, aiohttp.ClientError, OSError, TimeoutError, config.ConfigException, ValueError)
_LONGEST_RETRY_AFTER_S: Final = 60.0
# Bytes of a list in all; a node has 250 pods at most as a rule, and a pod 10 to 20 KB. Parsed it takes four times as much.
MAX_LIST: Final = 16 << 20
_MAX_TEXT: Final = 600  # characters of an error


class PodRequests:
    """Requests through the client's own transport.

    The client's CoreV1Api would send the same, but takes 23 MB and half a second for its thousand other methods.
    """

    def __init__(self, api: client.ApiClient) -> None:
        self._api = api

    @property
    def server(self) -> str:
        return str(self._api.configuration.host)

    @property
    def proxy(self) -> str | None:
        """host:port of the proxy that the requests go through."""
        proxy = self._api.configuration.proxy
        return URL(proxy).authority.rpartition("@")[2] if proxy else None

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
async def connect(kubeconfig: Path | None, *, strict_x509: bool = False) -> AsyncIterator[PodRequests]:
    """A client for some requests. `kubeconfig` None: the pod's own service account. Raises one of REQUEST_ERRORS.

    `strict_x509`: refuses certificates of CAs that lack extensions which RFC 5280 demands, as Python does by default from 3.13
    on. kubectl and kubelet accept them. In a cluster no proxy is used; with a kubeconfig its own, or that of the environment.
    """
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
    settings.disable_strict_ssl_verification = not strict_x509
    settings.client_session_kwargs = {"trust_env": False}  # else aiohttp would use proxies in a cluster, too
    if kubeconfig is not None and settings.proxy is None:
        settings.proxy = proxy_for(settings.host, os.environ)
    async with client.ApiClient(settings) as api:
        yield PodRequests(api)


class AnswerTooLarge(ValueError):
    """What answers is no API server, or one that means harm."""


async def read_answer(answer: aiohttp.ClientResponse, most: int = MAX_LIST) -> bytes:
    """The body. Raises AnswerTooLarge, and reads no more, as soon as it has more than `most` bytes."""
    body = bytearray()
    while piece := await answer.content.readany():
        body += piece
        if len(body) > most:
            answer.close()
            raise AnswerTooLarge(f"more than {MAX_LIST} bytes are no list of a node's pods")
    return bytes(body)


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


def describe(error: BaseException, proxy: str | None = None) -> str:
    """One line for people. `proxy`: host:port, if the request went through one."""
    through = f", through the proxy {proxy}" if proxy else ""
    if isinstance(error, ApiException):
        hints = {401: "the token is not accepted", 403: "may not list and watch pods: is the ClusterRole bound?"}
        return f"answered {error.status} ({hints.get(error.status, _cut(str(error.reason)))}){through}"
    if certificate := next((one for one in tls_errors(error) if isinstance(one, ssl.SSLCertVerificationError)), None):
        return f"its certificate is not trusted: {certificate.verify_message}{through}"
    return f"{type(error).__name__}: {_cut(str(error))}{through}"


def _cut(text: str) -> str:
    """At a word's end."""
    return text if len(text) <= _MAX_TEXT else text[:_MAX_TEXT].rpartition(" ")[0] + " ..."
