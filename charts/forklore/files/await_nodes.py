"""Waits until a DaemonSet is ready on every node: `await_nodes.py PATH SECONDS`, in a pod that may get it.

Ends with 0 when its pods are ready on all desired nodes, with 1 when the time is up, and prints on how many they are. Uses the
standard library only.
"""

import http.client
import json
import os
import ssl
import sys
import time
import urllib.request
from pathlib import Path

ACCOUNT = Path(os.environ.get("SERVICE_ACCOUNT", "/var/run/secrets/kubernetes.io/serviceaccount"))
NO_NODES_S = 10.0  # with no desired node for so long there is none: the controller has read the DaemonSet by then


def status(path: str) -> tuple[int, int]:
    """Desired nodes and ready nodes; 0 and 0 until the controller has read the DaemonSet. Raises OSError, ValueError or
    HTTPException."""
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    request = urllib.request.Request(f"https://{f'[{host}]' if ':' in host else host}:{port}{path}")
    request.add_header("Authorization", "Bearer " + (ACCOUNT / "token").read_text().strip())
    trust = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    with urllib.request.urlopen(request, timeout=10, context=trust) as answer:  # noqa: S310
        daemonset = json.load(answer)
    reported = daemonset.get("status", {})
    if reported.get("observedGeneration", 0) < daemonset["metadata"].get("generation", 1):
        return 0, 0
    return reported.get("desiredNumberScheduled", 0), reported.get("numberReady", 0)


def main(path: str, seconds: float) -> int:
    began = time.monotonic()
    printed = ""
    while True:
        waited = time.monotonic() - began
        try:
            wanted, done = status(path)
            if done >= wanted and (wanted or waited > NO_NODES_S):
                sys.stdout.write(f"clean: {done} of {wanted} nodes\n")
                return 0
            text = f"{done} of {wanted} nodes are clean"
        except (OSError, ValueError, http.client.HTTPException) as error:
            text = f"the API server: {error}"
        if text != printed:
            sys.stdout.write(f"{text}\n")
            sys.stdout.flush()
            printed = text
        if waited > seconds:
            sys.stdout.write(
                f"time is up after {seconds:.0f} s: {text}. On the others the BPF programs stay, inactive, until a boot\n"
            )
            return 1
        time.sleep(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], float(sys.argv[2])))
