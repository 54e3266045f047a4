"""Where certificates are kept: a folder, or a Secret or ConfigMap of Kubernetes."""

from __future__ import annotations

import base64
import http.client
import json
import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

__all__ = ["ACCOUNT", "KINDS", "Changed", "Folder", "Kept", "KubernetesObject", "Place", "PlaceError"]

ACCOUNT: Final = Path(os.environ.get("SERVICE_ACCOUNT", "/var/run/secrets/kubernetes.io/serviceaccount"))
KINDS: Final = {"secret": "secrets", "configmap": "configmaps"}  # as in commands: as in the API's paths
_ANSWER_S: Final = 10.0
_MOST_BYTES: Final = 4 << 20  # of an answer: an object has at most 1 MiB


class PlaceError(Exception):
    """It can't be read or written; the text says what and why."""


class Changed(Exception):
    """Somebody else has written there since it was read."""


class Kept(NamedTuple):
    """`version`: for `write`, which fails when another one is there."""

    files: dict[str, bytes]
    version: str


class Place(Protocol):
    """Raises `PlaceError`."""

    def read(self) -> Kept: ...

    def write(self, files: Mapping[str, bytes], version: str) -> None:
        """Raises `Changed`, too."""
        ...


class Folder:
    """Files that only their owner can read; a key is written before its certificate. One program writes there."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Kept:
        try:
            files = [file for pattern in ("*.crt", "*.key") for file in self._path.glob(pattern) if file.is_file()]
            return Kept({file.name: file.read_bytes() for file in files}, "")
        except OSError as error:
            raise PlaceError(f"{self._path} can't be read: {error.strerror}") from error

    def write(self, files: Mapping[str, bytes], version: str) -> None:
        try:
            self._path.mkdir(mode=0o755, parents=True, exist_ok=True)
            for name in sorted(files, key=lambda one: (not one.startswith("ca."), one.endswith(".crt"))):
                self._replace(self._path / name, files[name])
        except OSError as error:
            raise PlaceError(f"{self._path} can't be written: {error.strerror}") from error

    def _replace(self, file: Path, text: bytes) -> None:
        if file.is_file() and file.read_bytes() == text:
            return
        new = file.with_name(f".{file.name}.new")
        new.unlink(missing_ok=True)
        mode = 0o600 if file.suffix == ".key" else 0o644
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as opened:
            opened.write(text)
            opened.flush()
            os.fsync(opened.fileno())
        new.replace(file)


class KubernetesObject:
    """The data of a Secret or ConfigMap that is there. The pod's service account needs `get` and `patch` on it, nothing else.

    `kind`: one of `KINDS`. What is written has the version that was read: two that write at once do not undo each other's work.
    """

    def __init__(self, kind: str, namespace: str, name: str, account: Path = ACCOUNT) -> None:
        self._path = f"/api/v1/namespaces/{namespace}/{KINDS[kind]}/{name}"
        self._called = f"the {kind} {namespace}/{name}"
        self._is_secret = kind == "secret"  # its data is in base64, as a ConfigMap's is not
        self._account = account

    def read(self) -> Kept:
        found = self._request("GET")
        try:
            data = {name: self._decoded(value) for name, value in (found.get("data") or {}).items()}
            return Kept(data, str(found["metadata"]["resourceVersion"]))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise PlaceError(f"{self._called}: the API server's answer is no such object") from error

    def write(self, files: Mapping[str, bytes], version: str) -> None:
        data = {name: base64.b64encode(text).decode() if self._is_secret else text.decode() for name, text in files.items()}
        self._request("PATCH", {"metadata": {"resourceVersion": version}, "data": data})

    def _decoded(self, value: str) -> bytes:
        return base64.b64decode(value) if self._is_secret else value.encode()

    def _request(self, method: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        try:
            request = urllib.request.Request(self._url(), method=method)  # noqa: S310  https, see _url
            request.add_header("Authorization", "Bearer " + (self._account / "token").read_text().strip())
            if body is not None:
                request.data = json.dumps(body).encode()
                request.add_header("Content-Type", "application/merge-patch+json")
            trust = ssl.create_default_context(cafile=str(self._account / "ca.crt"))
            trust.verify_flags &= ~ssl.VERIFY_X509_STRICT  # as kubectl: some clusters' CAs lack a key identifier
            direct = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trust))
            with direct.open(request, timeout=_ANSWER_S) as answer:
                found = json.loads(answer.read(_MOST_BYTES))
        except urllib.error.HTTPError as error:
            if error.code == 409:
                raise Changed from error
            raise PlaceError(f"{self._called}: {method} was answered with {error.code}{_advice(error.code)}") from error
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise PlaceError(f"{self._called}: {method} failed: {getattr(error, 'reason', None) or error}") from error
        if not isinstance(found, dict):
            raise PlaceError(f"{self._called}: the API server's answer is no object")
        return found

    def _url(self) -> str:
        host, port = os.environ.get("KUBERNETES_SERVICE_HOST", ""), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
        if not host:
            raise PlaceError(f"{self._called}: this is no pod: KUBERNETES_SERVICE_HOST is not set")
        return f"https://{f'[{host}]' if ':' in host else host}:{port}{self._path}"


def _advice(status: int) -> str:
    return {
        403: ": the Role needs get and patch on it",
        404: ": the chart makes it, empty, before anything is written into it",
    }.get(status, "")
