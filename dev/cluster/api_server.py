"""A Kubernetes API server as pods find it: TLS at an address of the cluster, service account tokens, pods, Secrets, ConfigMaps.

The demo's stand-in, with what the chart's pods need beside pods.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, Self

import trustme
from aiohttp import web

from dev.cluster.node.kubelet import NodePod
from dev.cluster.service_accounts import ISSUER, TokenIssuer
from dev.demo.kubernetes.api_server import KubernetesApi
from dev.demo.kubernetes.cluster import Cluster

__all__ = ["NAME", "ApiServer"]

NAME: Final = "kubernetes.default.svc"
_ROOT_CA: Final = "kube-root-ca.crt"  # a ConfigMap that Kubernetes publishes in every namespace
_START_S: Final = 20.0
Kind = Literal["configmaps", "secrets"]
Object = dict[str, Any]


class _Api(KubernetesApi):
    """With ConfigMaps and Secrets to get and to patch, and the keys of service account tokens."""

    def __init__(self, cluster: Cluster, issuer: TokenIssuer, **given: Any) -> None:  # noqa: ANN401  of KubernetesApi
        super().__init__(cluster, **given)
        self.objects: dict[tuple[str, str, str], Object] = {}  # by kind, namespace, name
        self._issuer = issuer

    def add_routes(self, router: web.UrlDispatcher) -> None:
        super().add_routes(router)
        router.add_get("/.well-known/openid-configuration", self._discovery)
        router.add_get("/openid/v1/jwks", self._jwks)
        path = "/api/v1/namespaces/{namespace}/{kind:configmaps|secrets}/{name}"
        router.add_get(path, self._get)
        router.add_patch(path, self._patch)

    def is_authorized(self, token: str) -> bool:
        return self._issuer.is_own(token)

    def put(self, kind: Kind, namespace: str, name: str, data: Mapping[str, str]) -> None:
        """`data`: as the API has it, a Secret's in base64."""
        self.cluster.version += 1
        metadata = {"namespace": namespace, "name": name, "resourceVersion": str(self.cluster.version)}
        self.objects[kind, namespace, name] = {"apiVersion": "v1", "metadata": metadata, "data": dict(data)}

    async def _discovery(self, _request: web.Request) -> web.Response:
        return self.json_answer({"issuer": ISSUER, "jwks_uri": f"{self.url}/openid/v1/jwks"})

    async def _jwks(self, _request: web.Request) -> web.Response:
        return self.json_answer(self._issuer.jwks())

    def _found(self, request: web.Request) -> Object:
        place = request.match_info
        try:
            return self.objects[place["kind"], place["namespace"], place["name"]]
        except KeyError:
            raise web.HTTPNotFound from None

    async def _get(self, request: web.Request) -> web.Response:
        return self.json_answer(self._found(request))

    async def _patch(self, request: web.Request) -> web.Response:
        """A merge patch of the data; one of an older version is refused."""
        found, patch = self._found(request), await request.json()
        if patch.get("metadata", {}).get("resourceVersion", "") != found["metadata"]["resourceVersion"]:
            return self.refusal(409, "the object has been modified; please apply your changes to the latest version")
        place = request.match_info
        kind: Kind = "secrets" if place["kind"] == "secrets" else "configmaps"
        self.put(kind, place["namespace"], place["name"], {**found["data"], **patch.get("data", {})})
        return self.json_answer(self._found(request))


class ApiServer:
    """Runs in a thread of its own. A context manager. A `PodApi` of kubelets."""

    def __init__(self, host: str, port: int = 443) -> None:
        self.host, self.port = host, port
        self.cluster = Cluster()
        authority = trustme.CA()
        self.ca = authority.cert_pem.bytes().decode()
        self._issuer = TokenIssuer()
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(host, NAME).configure_cert(tls)
        self._api = _Api(self.cluster, self._issuer, host=host, port=port, tls=tls)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._api.start(), self._loop).result(_START_S)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._api.stop(), self._loop).result(_START_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def change(self, change: Callable[[Cluster], object]) -> None:
        """Changes the cluster's pods, in the thread that serves them."""
        self._call(lambda: change(self.cluster))

    def pod(self, uid: str) -> Object:
        """Raises KeyError."""
        return self.cluster.pod(uid)

    def apply(self, objects: list[Object], namespace: str) -> None:
        """The ConfigMaps and Secrets among these; others are for controllers that are not here."""
        for one in objects:
            name = one["metadata"]["name"]
            if one["kind"] == "ConfigMap":
                self.put("configmaps", namespace, name, one.get("data") or {})
            elif one["kind"] == "Secret":
                plain = {key: _encoded(value) for key, value in (one.get("stringData") or {}).items()}
                self.put("secrets", namespace, name, {**(one.get("data") or {}), **plain})

    def put(self, kind: Kind, namespace: str, name: str, data: Mapping[str, str]) -> None:
        """`data`: as the API has it, a Secret's in base64."""
        self._call(lambda: self._api.put(kind, namespace, name, data))

    def data(self, kind: Kind, namespace: str, name: str) -> Mapping[str, str]:
        """As the API has it."""
        return dict(self._api.objects[kind, namespace, name]["data"])

    def files(self, kind: Kind, namespace: str, name: str) -> Mapping[str, str] | None:
        if (kind, name) == ("configmaps", _ROOT_CA):
            return {"ca.crt": self.ca}
        found = self._api.objects.get((kind, namespace, name))
        if found is None:
            return None
        is_secret = kind == "secrets"
        return {key: base64.b64decode(text).decode() if is_secret else text for key, text in found["data"].items()}

    def token(self, pod: NodePod, audience: str | None, seconds: int) -> str:
        account = (pod.namespace, pod.spec.get("serviceAccountName", "default"))
        return self._issuer.token(account, pod.node, (pod.name, pod.uid), audience, seconds)

    def _call(self, function: Callable[[], object]) -> None:
        async def called() -> None:
            function()

        asyncio.run_coroutine_threadsafe(called(), self._loop).result(_START_S)


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
