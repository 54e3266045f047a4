"""A stand-in cluster for helm: an API server over TLS that keeps objects, and controllers for the few kinds that a hook needs.

Containers do not run, except those of Jobs, whose command runs here as a process. Nodes have pins in their BPF file system
while an agent's DaemonSet exists, and until the pods of the uninstall's DaemonSet have been on them.
"""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
import tempfile
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import trustme
import yaml

RESOURCES = {
    "v1": {"configmaps": "ConfigMap", "secrets": "Secret", "services": "Service", "serviceaccounts": "ServiceAccount",
           "pods": "Pod", "namespaces": "Namespace", "persistentvolumeclaims": "PersistentVolumeClaim",
           "events": "Event"},
    "storage.k8s.io/v1": {"storageclasses": "StorageClass"},
    "apps/v1": {"daemonsets": "DaemonSet", "statefulsets": "StatefulSet", "replicasets": "ReplicaSet",
                "deployments": "Deployment"},
    "batch/v1": {"jobs": "Job", "cronjobs": "CronJob"},
    "rbac.authorization.k8s.io/v1": {"roles": "Role", "rolebindings": "RoleBinding", "clusterroles": "ClusterRole",
                                     "clusterrolebindings": "ClusterRoleBinding"},
    "networking.k8s.io/v1": {"networkpolicies": "NetworkPolicy"},
}  # fmt: skip
CLUSTER_WIDE = {"namespaces", "storageclasses", "clusterroles", "clusterrolebindings"}
ROOT = Path(__file__).parents[2]
Key = tuple[str, str, str]  # resource, namespace, name


class Cluster:
    """`pinned`: the nodes with something in their BPF file system. `away`: those on which no pod gets ready."""

    def __init__(self, nodes: list[str], folder: Path) -> None:
        self.nodes = nodes
        self.away: set[str] = set()
        self.pinned: set[str] = set()
        self.objects: dict[Key, dict[str, Any]] = {}
        self.log: list[tuple[str, str, str]] = []  # verb, resource, name
        self.jobs: list[tuple[int, str]] = []  # exit code, what it printed
        self._changed = threading.Condition()
        self._processes: list[subprocess.Popen[str]] = []
        self._closed = False
        self.version = 0
        self._events: list[tuple[int, str, Key, dict[str, Any]]] = []
        self._folder = folder
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(folder / "ca.crt"))
        (folder / "token").write_text("token of the service account")
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.port = self._server.server_port
        self.kubeconfig = folder / "kubeconfig"
        self.kubeconfig.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "v1", "kind": "Config", "current-context": "it",
                    "clusters": [{"name": "it", "cluster": {
                        "server": f"https://127.0.0.1:{self.port}", "certificate-authority": str(folder / "ca.crt")}}],
                    "users": [{"name": "it", "user": {"token": "x"}}],
                    "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
                }
            )
        )  # fmt: skip

    def serve(self) -> None:
        self._server.serve_forever(poll_interval=0.05)

    def close(self) -> None:
        """Ends the Jobs that still run, too."""
        with self._changed:
            self._closed = True
            for process in self._processes:
                process.kill()
        self._server.shutdown()
        self._server.server_close()

    def left(self) -> list[Key]:
        """What is there, but for helm's own records."""
        return sorted(key for key in self.objects if not key[2].startswith("sh.helm."))

    def put(self, key: Key, one: dict[str, Any]) -> dict[str, Any]:
        with self._changed:
            fresh = key not in self.objects
            self.version += 1
            one["metadata"] |= {"resourceVersion": str(self.version), "uid": f"uid-{key[2]}", "generation": 1}
            if fresh:
                self.log.append(("made", key[0], key[2]))
            self.objects[key] = one
            self._record("ADDED" if fresh else "MODIFIED", key, one)
        if fresh:
            threading.Thread(target=self._control, args=(key, json.loads(json.dumps(one))), daemon=True).start()
        return one

    def remove(self, key: Key) -> dict[str, Any] | None:
        with self._changed:
            one = self.objects.pop(key, None)
            if key[0] == "jobs":
                self.objects.pop(("pods", key[1], key[2]), None)
            if one:
                self.version += 1
                self.log.append(("removed", key[0], key[2]))
                self._record("DELETED", key, one)
            return one

    def _record(self, what: str, key: Key, one: dict[str, Any]) -> None:
        self._events.append((self.version, what, key, json.loads(json.dumps(one))))
        self._changed.notify_all()

    def listed(self, resource: str, namespace: str, labels: dict[str, str], name: str) -> list[dict[str, Any]]:
        with self._changed:
            return [one for key, one in sorted(self.objects.items()) if _matches(key, one, resource, namespace, labels, name)]

    def events(self, since: int, resource: str, namespace: str, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """What happens from `since` on, for ten seconds."""
        place = 0
        while True:
            with self._changed:
                if place == len(self._events) and not self._changed.wait(timeout=10):
                    return
                fresh, place = self._events[place:], len(self._events)
            for version, what, key, one in fresh:
                if version > since and _matches(key, one, resource, namespace, {}, name):
                    yield what, one

    def _status(self, key: Key, status: dict[str, Any]) -> None:
        with self._changed:
            if key in self.objects:
                self.put(key, {**self.objects[key], "status": status})

    def _control(self, key: Key, one: dict[str, Any]) -> None:
        if key[0] == "daemonsets":
            self._daemonset(key)
        elif key[0] == "jobs":
            self._job(key, one)

    def _daemonset(self, key: Key) -> None:
        agents = key[2].endswith("-agent")
        for node in [node for node in self.nodes if node not in self.away or agents]:
            with self._changed:
                if agents:
                    self.pinned.add(node)
                elif not any(name.endswith("-agent") for resource, _, name in self.objects if resource == "daemonsets"):
                    self.pinned.discard(node)  # the agent's lock is free
        done = len(self.nodes) if agents else len([node for node in self.nodes if node not in self.pinned])
        counts = dict.fromkeys(("currentNumberScheduled", "desiredNumberScheduled", "updatedNumberScheduled"), len(self.nodes))
        self._status(key, {"observedGeneration": 1, **counts, "numberAvailable": done, "numberReady": done})

    def _job(self, key: Key, one: dict[str, Any]) -> None:
        container = one["spec"]["template"]["spec"]["containers"][0]
        environment = {
            **os.environ, "KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(self.port),
            "SERVICE_ACCOUNT": str(self._folder),
        }  # fmt: skip
        program, *command = container["command"]
        python = [sys.executable, "-m", "cli"] if program == "forklore" else [sys.executable]
        line = [*python, *command, *container["args"]]
        with self._changed:
            if self._closed:
                return
            process = subprocess.Popen(
                line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT
            )
            self._processes.append(process)
        text, _ = process.communicate()
        self.jobs.append((process.returncode, text))
        about = {"name": key[2], "namespace": key[1], "labels": {"job-name": key[2]}}
        with self._changed:
            if key in self.objects:
                self.objects["pods", key[1], key[2]] = {
                    "apiVersion": "v1", "kind": "Pod", "metadata": about, "spec": {"containers": [container]}, "log": text,
                }  # fmt: skip
        kind = "Complete" if process.returncode == 0 else "Failed"
        count = "succeeded" if process.returncode == 0 else "failed"
        self._status(key, {count: 1, "conditions": [{"type": kind, "status": "True", "reason": kind, "message": kind}]})


def _matches(key: Key, one: dict[str, Any], resource: str, namespace: str, labels: dict[str, str], name: str) -> bool:
    mine = one["metadata"].get("labels") or {}
    return (
        key[0] == resource and namespace in ("", key[1]) and name in ("", key[2]) and labels.items() <= mine.items()
    )  # fmt: skip


def _fields(raw: bytes) -> dict[int, list[bytes]]:
    """A protobuf message's fields of bytes, by number."""
    found: dict[int, list[bytes]] = {}
    place = 0

    def number() -> int:
        nonlocal place
        value = shift = 0
        while True:
            byte = raw[place]
            place, value, shift = place + 1, value | (byte & 127) << shift, shift + 7
            if byte < 128:
                return value

    while place < len(raw):
        tag = number()
        length = number()  # of wire type 2; of 0 it is the value
        if tag & 7 == 2:
            found.setdefault(tag >> 3, []).append(raw[place : place + length])
            place += length
    return found


def _secret(raw: bytes) -> dict[str, Any]:
    """helm keeps its records in Secrets, and sends them as Kubernetes' protobuf: Unknown{raw: Secret}."""
    secret = _fields(_fields(raw)[2][0])
    about = _fields(secret[1][0])
    pairs = [[_fields(entry) for entry in entries] for entries in (about.get(11, []), secret.get(2, []))]
    labels, data = ({pair[1][0].decode(): pair[2][0] for pair in entries} for entries in pairs)
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": about[1][0].decode(), "labels": {key: value.decode() for key, value in labels.items()}},
        "type": secret[3][0].decode(),
        "data": {key: b64encode(value).decode() for key, value in data.items()},
    }


def _handler(cluster: Cluster) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def _say(self, code: int, body: Any) -> None:
            raw = json.dumps(body).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def _log(self, text: str) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def _absent(self) -> None:
            text = "the server could not find the requested resource"
            self._say(
                404,
                {"apiVersion": "v1", "kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404, "message": text},
            )

        def _place(self) -> tuple[str, str, Key] | None:
            """API version, resource and key of the path; its name is empty for a list."""
            parts = [part for part in urlsplit(self.path).path.split("/") if part]
            version, rest = ("v1", parts[2:]) if parts[:1] == ["api"] else ("/".join(parts[1:3]), parts[3:])
            namespace = ""
            if rest[:1] == ["namespaces"] and len(rest) > 2:
                namespace, rest = rest[1], rest[2:]
            if not rest or rest[0] not in RESOURCES.get(version, {}):
                return None
            return version, rest[0], (rest[0], namespace, rest[1] if len(rest) > 1 else "")

        def _body(self) -> dict[str, Any]:
            raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if raw.startswith(b"k8s\0"):
                return _secret(raw[4:])
            found: dict[str, Any] = yaml.safe_load(raw) or {}
            return found

        def do_GET(self) -> None:
            path = urlsplit(self.path).path.rstrip("/")
            if path == "/version":
                return self._say(200, {"major": "1", "minor": "35", "gitVersion": "v1.35.0"})
            if path == "/api":
                return self._say(200, {"kind": "APIVersions", "versions": ["v1"]})
            if path == "/apis":
                groups = [version.split("/") for version in RESOURCES if "/" in version]
                named = [{"groupVersion": f"{group}/{version}", "version": version} for group, version in groups]
                listed = [
                    {"name": one["groupVersion"].split("/")[0], "versions": [one], "preferredVersion": one} for one in named
                ]
                return self._say(200, {"kind": "APIGroupList", "apiVersion": "v1", "groups": listed})
            if path == "/openapi/v2":  # an empty document: this server checks nothing, kubernetes-validate does
                self.send_response(200)
                self.send_header("Content-Length", "0")
                return self.end_headers()
            version = path.removeprefix("/apis/").removeprefix("/api/")
            if version in RESOURCES:
                verbs = ["create", "delete", "get", "list", "patch", "update", "watch"]
                listed = [
                    {"name": name, "singularName": "", "kind": kind, "namespaced": name not in CLUSTER_WIDE, "verbs": verbs}
                    for name, kind in RESOURCES[version].items()
                ]
                return self._say(200, {"kind": "APIResourceList", "groupVersion": version, "resources": listed})
            place = self._place()
            if place is None:
                return self._absent()
            return self._read(*place)

        def _read(self, version: str, resource: str, key: Key) -> None:
            query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
            if key[2]:
                one = cluster.objects.get(key)
                if one and urlsplit(self.path).path.endswith("/log"):
                    return self._log(one["log"])
                return self._say(200, one) if one else self._absent()
            selector = query.get("fieldSelector", "")
            name = selector.removeprefix("metadata.name=") if selector.startswith("metadata.name=") else ""
            if query.get("watch") in ("true", "1"):
                listing = query.get("sendInitialEvents") == "true"
                return self._watch(version, listing, int(query.get("resourceVersion") or 0), resource, key[1], name)
            labels = dict(one.split("=") for one in query.get("labelSelector", "").split(",") if one.count("=") == 1)
            items = cluster.listed(resource, key[1], labels, name)
            about = {"resourceVersion": str(cluster.version)}
            return self._say(
                200, {"apiVersion": version, "kind": f"{RESOURCES[version][resource]}List", "metadata": about, "items": items}
            )

        def _watch(self, version: str, listing: bool, since: int, resource: str, namespace: str, name: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Connection", "close")
            self.end_headers()
            self.close_connection = True

            def send(what: str, one: dict[str, Any]) -> None:
                self.wfile.write(json.dumps({"type": what, "object": one}).encode() + b"\n")
                self.wfile.flush()

            try:
                if listing:
                    since = cluster.version
                    for one in cluster.listed(resource, namespace, {}, name):
                        send("ADDED", one)
                    about = {"resourceVersion": str(since), "annotations": {"k8s.io/initial-events-end": "true"}}
                    send("BOOKMARK", {"apiVersion": version, "kind": RESOURCES[version][resource], "metadata": about})
                for what, one in cluster.events(since, resource, namespace, name):
                    send(what, one)
            except OSError:
                pass  # whoever watched is gone

        def _write(self) -> None:
            place, body = self._place(), self._body()
            if place is None:
                self._absent()
            else:
                resource, namespace, _ = place[2]
                self._say(201, cluster.put((resource, namespace, body["metadata"]["name"]), body))

        def do_POST(self) -> None:
            self._write()

        def do_PUT(self) -> None:
            self._write()

        def do_PATCH(self) -> None:
            """helm's server-side apply names what helm owns, the Jobs' merge patches what they change. What neither names
            stays. One level of both is enough here."""
            place, body = self._place(), self._body()
            there = cluster.objects.get(place[2]) if place else None
            if place is None:
                self._absent()
            elif there is None:
                self._say(201, cluster.put(place[2], body))
            elif "merge-patch" in self.headers["Content-Type"]:
                data = {**there.get("data", {}), **body.get("data", {})}
                self._say(200, cluster.put(place[2], {**there, "data": data}))
            else:
                self._say(200, cluster.put(place[2], {**there, **body}))

        def do_DELETE(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))  # how to delete; nothing here has dependents
            place = self._place()
            one = cluster.remove(place[2]) if place else None
            self._say(200, one) if one else self._absent()

    return Handler


@contextmanager
def running(nodes: list[str]) -> Iterator[Cluster]:
    with tempfile.TemporaryDirectory() as folder:
        cluster = Cluster(nodes, Path(folder))
        thread = threading.Thread(target=cluster.serve, daemon=True)
        thread.start()
        try:
            yield cluster
        finally:
            cluster.close()
            thread.join()
