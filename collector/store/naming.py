"""Whose a holder is: the row numbers of pods, streams and holders, and the SQL of the best that was ever said of a holder.

An event is filed under the words it came with; a cgroup may be known better later. So every look asks for holders first, by
their best names, and then for rows of these holders. Must not live here: what is read of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final

from collector.model import Attribution, Filter, PodRow

__all__ = [
    "KEYS",
    "counter_source_id",
    "counter_sources",
    "keys_of",
    "keys_of_pods",
    "numbered",
    "owner_of",
    "pods_where",
    "short_hash",
    "stream_id",
]

# 53 bits, so that every reader of JSON keeps each digit. Two of 20,000 pods meet once in 50 million stores.
_BITS: Final = 53
_BLOCKS: Final = 2**35 - 1

# Each holder once. `owner` 0: outside pods. Times in ns; `since` is what is not hidden for its age.
_COUNTER_SOURCES: Final = (
    "SELECT stream, cgroup, whose AS w, newest AS n, first_seen AS first, last_seen AS last FROM holder FINAL "
    "WHERE toUnixTimestamp64Nano(seen) >= {since:Int64}"
)
# Under which words forks of such holders may be filed: what is known of them now, and what they were called before.
KEYS: Final = (
    "SELECT DISTINCT tupleElement(w, 'cluster'), k.1, k.2 FROM (SELECT w, arrayJoin([(tupleElement(w, 'namespace'), "
    "tupleElement(w, 'pod')), ('', tupleElement(w, 'uid')), ('', concat('cgroup-', toString(cgroup)))]) AS k FROM ({holders}))"
)


def counter_sources(fits: str = "1") -> str:
    """Each holder once for whose `w` it holds; asked for those alone of which it was ever said, which are quickly found."""
    if fits == "1":
        return _COUNTER_SOURCES
    said = fits.replace("tupleElement(w, ", "tupleElement(whose, ")
    known = f"SELECT stream, cgroup FROM holder WHERE {said}"
    return f"SELECT * FROM ({_COUNTER_SOURCES} AND (stream, cgroup) IN ({known})) WHERE {fits}"


@lru_cache(1 << 16)
def short_hash(*words: object) -> int:
    """A row's number that every collector comes to by itself; never 0."""
    digest = blake2b("\0".join(map(str, words)).encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> (64 - _BITS)) or 1


def numbered(cpu: int, sequence: int) -> int:
    """One number of a fork of a stream for the sets in `made`: of 2^16 forks in a row a CPU has one container, and all CPUs'
    lie side by side. Who claims more than 8192 CPUs, or 2^51 forks on one, is counted amiss."""
    return ((sequence >> 16 & _BLOCKS) << 29) | cpu << 16 | sequence & 0xFFFF


def counter_source_id(stream: str, cgroup: int) -> int:
    return short_hash("holder", stream, cgroup)


def stream_id(stream: str) -> int:
    return short_hash("stream", stream)


def owner_of(attribution: Attribution) -> int:
    """Its pod's row: by cluster and uid, or by cluster, node and cgroup where no uid is known."""
    own = attribution.pod_uid if attribution.pod_uid is not None else f"{attribution.node}/cgroup-{attribution.cgroup}"
    return short_hash("pod", attribution.cluster, own)


def keys_of(attribution: Attribution) -> tuple[str, str]:
    """Namespace and pod that a fork is filed under: what stands for the pod where its name is not known; a host has neither."""
    if attribution.pod is not None:
        return attribution.namespace or "", attribution.pod
    if attribution.pod_uid is not None:
        return "", attribution.pod_uid
    return "", ""


def keys_of_pods(pods: Iterable[PodRow], counter_sources: Iterable[tuple[str, int]]) -> list[tuple[str, str, str]]:
    """As `KEYS`, of pods and their holders that are known already."""
    cgroups = {cgroup for _, cgroup in counter_sources}
    found = set()
    for pod in pods:
        found |= {(pod.cluster, pod.namespace or "", pod.name or ""), (pod.cluster, "", pod.uid or "")}
        found |= {(pod.cluster, "", f"cgroup-{cgroup}") for cgroup in cgroups}
    return sorted(found)


def pods_where(wish: Filter, parameters: dict[str, Any]) -> str:
    """An SQL condition over `w` of `holders`, its values put into `parameters`; "1" when nothing is wished."""
    terms: list[str] = []
    for name, column in (
        ("cluster", "cluster"),
        ("namespace", "namespace"),
        ("node", "node"),
        ("pod", "pod"),
        ("pod_uid", "uid"),
    ):
        if value := getattr(wish, name):
            terms.append(f"tupleElement(w, '{column}') = {{wish_{name}:String}}")
            parameters[f"wish_{name}"] = value
    told: list[str] = []
    if wish.workload:
        kind, slash, name = wish.workload.partition("/")
        parameters["wish_workload"] = name if slash else kind
        told.append("workload = {wish_workload:String}")
        if slash:
            told.append("workload_kind = {wish_kind:String}")
            parameters["wish_kind"] = kind
    for place, (key, value) in enumerate(wish.labels):
        told.append(
            f"mapContains(labels, {{wish_key{place}:String}}) AND "
            f"labels[{{wish_key{place}:String}}] = {{wish_label{place}:String}}"
        )
        parameters[f"wish_key{place}"], parameters[f"wish_label{place}"] = key, value
    if told:
        terms.append(f"tupleElement(w, 'subject') IN (SELECT id FROM subject WHERE {' AND '.join(told)})")
    if wish.text:
        parameters["wish_text"] = wish.text
        spots = [
            f"positionCaseInsensitiveUTF8(tupleElement(w, '{c}'), {{wish_text:String}}) > 0"
            for c in ("cluster", "node", "namespace", "pod", "uid")
        ]
        spots.append(
            "tupleElement(w, 'subject') IN (SELECT id FROM subject WHERE "
            "positionCaseInsensitiveUTF8(workload, {wish_text:String}) > 0 "
            "OR positionCaseInsensitiveUTF8(container, {wish_text:String}) > 0)"
        )
        terms.append(f"({' OR '.join(spots)})")
    return " AND ".join(terms) or "1"
