"""Waits until a DaemonSet is ready on every node: `await_nodes.py NAMESPACE NAME SECONDS TEST`, in a pod that may get it. TEST:
the pod that `helm test` left, which is deleted first.

Ends with 0 when its pods are ready on all desired nodes; with 1 when the time is up, or as soon as Pod Security forbids them.
Prints on how many they are. Uses the standard library only.
"""

import http.client
import json
import os
import ssl
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import quote

ACCOUNT = Path(os.environ.get("SERVICE_ACCOUNT", "/var/run/secrets/kubernetes.io/serviceaccount"))
NO_NODES_S = 10.0  # with no desired node for so long there is none: the controller has read the DaemonSet by then


def ask(path: str, method: str = "GET") -> dict[str, Any]:
    """The API server's answer. Raises OSError, ValueError or HTTPException."""
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    request = urllib.request.Request(f"https://{f'[{host}]' if ':' in host else host}:{port}{path}", method=method)
    request.add_header("Authorization", "Bearer " + (ACCOUNT / "token").read_text().strip())
    trust = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    with urllib.request.urlopen(request, timeout=10, context=trust) as answer:  # noqa: S310
        found: dict[str, Any] = json.load(answer)
        return found


def status(namespace: str, name: str) -> tuple[int, int]:
    """Desired nodes and ready nodes; 0 and 0 until the controller has read the DaemonSet. Raises as `ask`."""
    daemonset = ask(f"/apis/apps/v1/namespaces/{namespace}/daemonsets/{name}")
    reported = daemonset.get("status", {})
    if reported.get("observedGeneration", 0) < daemonset["metadata"].get("generation", 1):
        return 0, 0
    return reported.get("desiredNumberScheduled", 0), reported.get("numberReady", 0)


def forbidden(namespace: str, name: str) -> str | None:
    """What Pod Security says to the DaemonSet's pods. Raises as `ask`."""
    fields = f"involvedObject.kind=DaemonSet,involvedObject.name={name},reason=FailedCreate"
    for event in ask(f"/api/v1/namespaces/{namespace}/events?limit=100&fieldSelector={quote(fields)}")["items"]:
        text = str(event.get("message", ""))
        if event["involvedObject"]["name"] == name and "violates PodSecurity" in text:
            return text[text.index("violates") :]
    return None


def delete_test(namespace: str, test: str) -> None:
    try:
        ask(f"/api/v1/namespaces/{namespace}/pods/{test}", "DELETE")
    except (OSError, ValueError, http.client.HTTPException) as error:
        if not (isinstance(error, urllib.error.HTTPError) and error.code == 404):
            write(f"{test} stays: {error}")


def write(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main(namespace: str, name: str, seconds: float, test: str) -> int:
    began = time.monotonic()
    printed = ""
    delete_test(namespace, test)
    while True:
        waited = time.monotonic() - began
        try:
            wanted, done = status(namespace, name)
            if done >= wanted and (wanted or waited > NO_NODES_S):
                write(f"clean: {done} of {wanted} nodes")
                return 0
            text = f"{done} of {wanted} nodes are clean"
            if not done and (reason := forbidden(namespace, name)):
                write(
                    f"Pod Security forbids the pods that clean the nodes: {reason}. If it refused the agents, too, nothing is"
                    f" on the nodes. Else: kubectl label namespace {namespace} pod-security.kubernetes.io/enforce=privileged"
                    " --overwrite, install again, and uninstall"
                )
                return 1
        except (OSError, ValueError, http.client.HTTPException) as error:
            text = f"the API server: {error}"
        if text != printed:
            write(text)
            printed = text
        if waited > seconds:
            write(f"time is up after {seconds:.0f} s: {text}. On the others the BPF programs stay, inactive, until a boot")
            return 1
        time.sleep(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], float(sys.argv[3]), sys.argv[4]))
