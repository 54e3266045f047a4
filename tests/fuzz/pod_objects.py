"""Lines of a watch of pods: whatever a user of the cluster writes into a pod, and whatever answers as the API server."""

from dataclasses import replace

import orjson

from agent.attribution.pods.index import Pods
from agent.attribution.pods.lines import Lines
from agent.attribution.pods.objects import pod_of
from agent.model import Pod
from agent.state_records import PodRecord
from tests.fuzz.recorded import PODS, WATCHED

COVERS = ["agent.attribution.pods.objects", "agent.attribution.pods.index", "agent.attribution.pods.lines"]
SEEDS = [*WATCHED, *PODS, b"\n".join(WATCHED[:3])]
KEEP = ("kubernetes.io/config.hash", "example.com/owner")


def check(data):
    body, lines, found = bytes(data), Lines(), []
    for at in range(0, len(body), 1000):
        found += lines.feed(body[at : at + 1000])
    assert found == [line for line in body.split(b"\n")[:-1] if line]
    pods = Pods()
    for line in [*found, body.rpartition(b"\n")[2]]:
        try:
            value = orjson.loads(line)
        except ValueError:
            continue
        item = value.get("object", value) if isinstance(value, dict) else value
        pod = pod_of(item, KEEP)
        if pod is None:
            continue
        assert type(pod) is Pod and {*pod.annotations} <= {*KEEP}
        assert all(len(one) <= 1024 for one in pod.annotations.values())
        saved = PodRecord(replace(pod, planned=()), gone=False)  # the spec's containers are not saved
        assert PodRecord.decode(PodRecord(pod, gone=False).encode()) == saved
        pods.put(pod)
        assert pods.get(pod.uid) == pod
        pods.remove(pod.uid, 0.0)
