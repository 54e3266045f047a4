"""What was reported of a stream of forks: summaries, storms, and how far the kernel had come."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from agent.model import Counters, Event
from agent.state_records.versions import VERSION, raising_record_error, read_object

__all__ = ["CountedRecord", "GapsRecord", "ReportedRecord", "StormRecord", "StormsRecord", "SummariesRecord"]


class SummariesRecord(NamedTuple):
    """What the summaries of a stream have reported.

    `reported`: key of a summary -> its counters then; `keys`: cgroup -> key; `removed`: all counters of cgroups that were
    removed, and those of the host's; `retired`: counters of removed cgroups whose names are still known; `gaps`: sink or "-",
    reason and cgroup -> missing forks in all; `number`: of the last summary.
    """

    reported: dict[int, Counters]
    keys: dict[int, int]
    removed: Counters
    removed_of_host: Counters
    retired: dict[int, Counters]
    gaps: dict[tuple[str, str, int], int]
    number: int

    def to_json(self) -> dict[str, Any]:
        return {
            "said": [[key, [*counters]] for key, counters in self.reported.items()],
            "keys": [[cgroup, key] for cgroup, key in self.keys.items()],
            "forgotten": [[*self.removed], [*self.removed_of_host]],
            "retired": [[cgroup, [*counters]] for cgroup, counters in self.retired.items()],
            "told": [[*key, missing] for key, missing in self.gaps.items()],
            "number": self.number,
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> SummariesRecord:
        removed, removed_of_host = fields["forgotten"]
        return cls(
            reported={key: tuple(counters) for key, counters in fields["said"]},
            keys=dict(fields["keys"]),
            removed=tuple(removed),
            removed_of_host=tuple(removed_of_host),
            retired={cgroup: tuple(counters) for cgroup, counters in fields["retired"]},
            gaps={(sink, reason, cgroup): missing for sink, reason, cgroup, missing in fields["told"]},
            number=fields["number"],
        )


class StormRecord(NamedTuple):
    """A storm that goes on. `since`: ns of the boot clock, as the kernel has it; `start`: RFC 3339; `before`: the
    counters at that moment; `reason`: the limit, as on the wire."""

    number: int
    since: int
    start: str
    before: Counters
    reason: str = "limit"

    def to_json(self) -> dict[str, Any]:
        """Without `reason`: 0.1 can't read a storm that has more fields than its own."""
        return {"number": self.number, "since": self.since, "start": self.start, "before": [*self.before]}


class StormsRecord(NamedTuple):
    """Storms of a stream, by the pod's cgroup id. `begun`: how many have begun; `ended`: `since` of the last one that ended;
    `checked`: when a pod was last checked (RFC 3339), and its counters then."""

    begun: int
    ongoing: dict[int, StormRecord]
    ended: dict[int, int]
    checked: dict[int, tuple[str, Counters]]

    def to_json(self) -> dict[str, Any]:
        reasons = [[pod, storm.reason] for pod, storm in self.ongoing.items() if storm.reason != "limit"]
        return {
            "begun": self.begun,
            "on": [[pod, storm.to_json()] for pod, storm in self.ongoing.items()],
            **({"reasons": reasons} if reasons else {}),
            "ended": [[pod, since] for pod, since in self.ended.items()],
            "looked": [[pod, wall, [*counters]] for pod, (wall, counters) in self.checked.items()],
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> StormsRecord:
        reasons = dict(fields.get("reasons", ()))
        return cls(
            begun=fields["begun"],
            ongoing={
                pod: StormRecord(**{**storm, "before": tuple(storm["before"]), "reason": reasons.get(pod, "limit")})
                for pod, storm in fields["on"]
            },
            ended=dict(fields["ended"]),
            checked={pod: (wall, tuple(counters)) for pod, wall, counters in fields["looked"]},
        )


class CountedRecord(NamedTuple):
    """How far the kernel had come by the last summary: `proc_stat`: tasks since boot that are accounted for; `emitted`: forks
    written to the ring; `unseen`: tasks that no tracepoint was called for."""

    proc_stat: int
    emitted: int
    unseen: int = 0


class ReportedRecord(NamedTuple):
    """What was reported of a stream. `interval_start`: of the next summary, RFC 3339. Of a stream that ended, `storms` and
    `counted` are None."""

    interval_start: str
    summaries: SummariesRecord
    storms: StormsRecord | None = None
    counted: CountedRecord | None = None

    def encode(self) -> bytes:
        return orjson.dumps({
            "version": VERSION,
            "interval_start": self.interval_start,
            "summaries": self.summaries.to_json(),
            "storms": self.storms and self.storms.to_json(),
            "snapshot": self.counted and self.counted._asdict(),
        })  # fmt: skip

    @classmethod
    @raising_record_error
    def decode(cls, raw: bytes) -> ReportedRecord:
        fields = read_object(raw)
        storms, counted = fields["storms"], fields["snapshot"]
        return cls(
            interval_start=fields["interval_start"],
            summaries=SummariesRecord.from_json(fields["summaries"]),
            storms=storms and StormsRecord.from_json(storms),
            counted=counted and CountedRecord(**counted),
        )


class GapsRecord(NamedTuple):
    """Gaps that a sink's receiver has not accepted yet, each with its stream."""

    gaps: tuple[tuple[str, Event], ...]

    def encode(self) -> bytes:
        return orjson.dumps({"version": VERSION, "gaps": self.gaps})

    @classmethod
    @raising_record_error
    def decode(cls, raw: bytes) -> GapsRecord:
        return cls(tuple((stream, event) for stream, event in read_object(raw)["gaps"]))
