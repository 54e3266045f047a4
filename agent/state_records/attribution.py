"""What attribution knew: cgroups, pods, and the clock's history."""

from __future__ import annotations

from dataclasses import asdict
from typing import NamedTuple

import orjson

from agent.model import Container, Pod
from agent.state_records.versions import VERSION, raising_record_error, read_list, read_object

__all__ = ["CgroupRecord", "ClockRecord", "KubeletRootRecord", "PodRecord"]


class CgroupRecord(NamedTuple):
    """`created`, `removed`: ns of the boot clock; created 0: before the agent started; removed None: it is there. `parent` 0:
    not known."""

    path: str
    created: int
    removed: int | None
    parent: int

    def encode(self) -> bytes:
        return orjson.dumps([*self])  # thousands of them: no names; a later version would be an object

    @classmethod
    @raising_record_error
    def decode(cls, raw: bytes) -> CgroupRecord:
        path, created, removed, parent = read_list(raw, 4)
        return cls(path, created, removed, parent)


class KubeletRootRecord(NamedTuple):
    """The path of the kubelet's cgroup, as it was learned."""

    path: str

    def encode(self) -> bytes:
        return orjson.dumps({"version": VERSION, "path": self.path})

    @classmethod
    @raising_record_error
    def decode(cls, raw: bytes) -> KubeletRootRecord:
        return cls(str(read_object(raw)["path"]))


class PodRecord(NamedTuple):
    """A pod as the API last reported it. `gone`: it was deleted since."""

    pod: Pod
    gone: bool

    def encode(self) -> bytes:
        pod = {**asdict(self.pod), "aliases": sorted(self.pod.aliases)}
        del pod["planned"]
        return orjson.dumps({"version": VERSION, "pod": pod, "gone": self.gone})

    @classmethod
    @raising_record_error
    def decode(cls, raw: bytes) -> PodRecord:
        fields = read_object(raw)
        pod = fields["pod"]
        containers = {key: Container(**one) for key, one in pod["containers"].items()}
        workload = pod["workload"] and tuple(pod["workload"])
        read = {"aliases": frozenset(pod["aliases"]), "containers": containers, "workload": workload}
        return cls(Pod(**{**pod, **read}), fields["gone"])


class ClockRecord(NamedTuple):
    """`separations_ns`: wall time less boot time; each in force from the moment in `since_ns` (boot clock) on."""

    since_ns: list[int]
    separations_ns: list[int]

    def encode(self) -> bytes:
        return orjson.dumps([self.since_ns, self.separations_ns])

    @classmethod
    @raising_record_error
    def decode(cls, raw: bytes) -> ClockRecord:
        since, separations = read_list(raw, 2)
        return cls(since, separations)
