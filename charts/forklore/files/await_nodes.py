"""Waits until a DaemonSet is done on every node: `await_nodes.py PATH SECONDS`, in a pod that may get it.

Ends with 0 when its pods are ready on all nodes that it wants them on, 1 when the time is up, and says on how many they are.
Python's own library only. Must not live here: what the pods do.
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
SETTLED_S = 10.0  # with no node wanted for this long there is none: the controller has had its time


def status(path: str) -> tuple[int, int]:
    """Nodes wanted and nodes done; none wanted until the controller has seen the DaemonSet. Raises OSError, ValueError
    or HTTPException."""
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    request = urllib.request.Request(f"https://{f'[{host}]' if ':' in host else host}:{port}{path}")
    request.add_header("Authorization", "Bearer " + (ACCOUNT / "token").read_text().strip())
    trust = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    with urllib.request.urlopen(request, timeout=10, context=trust) as answer:  # noqa: S310
        daemonset = json.load(answer)
    said = daemonset.get("status", {})
    if said.get("observedGeneration", 0) < daemonset["metadata"].get("generation", 1):
        return 0, 0
    return said.get("desiredNumberScheduled", 0), said.get("numberReady", 0)


def main(path: str, seconds: float) -> int:
    began = time.monotonic()
    said = ""
    while True:
        waited = time.monotonic() - began
        try:
            wanted, done = status(path)
            if done >= wanted and (wanted or waited > SETTLED_S):
                sys.stdout.write(f"clean: {done} of {wanted} nodes\n")
                return 0
            text = f"{done} of {wanted} nodes are clean"
        except (OSError, ValueError, http.client.HTTPException) as error:
            text = f"the API server: {error}"
        if text != said:
            sys.stdout.write(f"{text}\n")
            sys.stdout.flush()
            said = text
        if waited > seconds:
            sys.stdout.write(
                f"time is up after {seconds:.0f} s: {text}. On the others the probe stays, inert, until they boot\n"
            )
            return 1
        time.sleep(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], float(sys.argv[2])))
