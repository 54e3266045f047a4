"""What all of these tests share: how hard hypothesis tries, recordings of a real cluster, raw records as BPF writes them."""

from __future__ import annotations

import os
from pathlib import Path

import orjson
import pytest
from hypothesis import HealthCheck, settings

from agent.kernel.records import CHAIN, FORK, NUMBERS, PARENT_CONTEXT

# Seconds for the whole folder, not minutes; `make long` tries EXAMPLES of them. No deadline: machines differ.
settings.register_profile(
    "forklore",
    max_examples=int(os.environ.get("EXAMPLES", "25")),
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("forklore")

RECORDED = Path(__file__).parent.parent / "data/kubernetes-1.36"


@pytest.fixture(scope="session")
def recorded():
    """A recording by its name, read anew each time: no test changes what another reads."""

    def read(name):
        return orjson.loads((RECORDED / name).read_bytes())

    return read


@pytest.fixture(scope="session")
def recorded_events():
    """The recorded watch stream: all that happened to the node's pods, in order."""
    return [orjson.loads(line) for line in (RECORDED / "watch-lifecycle.ndjson").read_bytes().splitlines()]


class Records:
    """Raw records as the BPF programs lay them out: of a process in two pid namespaces, where nothing else is said."""

    def fork(self, sequence=0, cgroup=1, *, parent_context=None, **fields):
        given = {"time": 100, "parent_cgroup": cgroup, "child": (50, 5, 50, 5, 90), "chain": (50, 5), "levels": 2}
        given |= {"cpu": 0, "kind": 0, "counted": cgroup, **fields}
        below = (*given["chain"][1:], *[0] * CHAIN)[: CHAIN - 1]
        head = (sequence, given["time"], cgroup, given["parent_cgroup"], *given["child"], NUMBERS.pack(*below))
        return FORK.pack(
            *head, given["cpu"], given["levels"], given["kind"], given["counted"], parent_context or self.parent_context()
        )

    def parent_context(self, parent=(40, 4, 40, 4, 80), process=(40, 4, 40, 4, 80), leader=(0, 0, 0, 0, 0), flags=0, **fields):
        given = {"comm": b"sh\0", "parent_comm": b"bash\0", "uid": 0, "gid": 0, "namespaces": range(11, 18), **fields}
        words = (flags, given["comm"], given["parent_comm"], given["uid"], given["gid"], *given["namespaces"])
        return PARENT_CONTEXT.pack(*parent, *process, *leader, *words)


@pytest.fixture(scope="session")
def records():
    return Records()
