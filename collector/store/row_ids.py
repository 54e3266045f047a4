"""The numbers and names that rows go by, which every collector computes alike. Pure.

A fork is stored under the pod's name as it was when the fork came; a cgroup may be known better later. So every query asks for
counter sources first, by their best names, and then for rows of these counter sources, under all names that they may have had.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b
from typing import Final

from collector.model import Attribution, PodRow

__all__ = [
    "NO_CGROUP",
    "body_id",
    "counter_source_id",
    "fork_number",
    "pod_id",
    "pod_key",
    "pod_keys",
    "short_hash",
    "stream_id",
]

NO_CGROUP: Final = -2  # in place of a cgroup's id, for a gap that is of no single cgroup
# 53 bits, so that every reader of JSON keeps each digit. Two of 20,000 pods get the same one once in 50 million stores.
_BITS: Final = 53
_BLOCKS: Final = 2**35 - 1


@lru_cache(1 << 16)
def short_hash(*words: object) -> int:
    """Never 0."""
    digest = blake2b("\0".join(map(str, words)).encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> (64 - _BITS)) or 1


def fork_number(cpu: int, sequence: int) -> int:
    """One number for a fork of a stream in the bitmaps of `made`: bits 0-15 are the low bits of `sequence`, bits 16-28 the CPU,
    bits 29-63 the other bits of `sequence`. So a bitmap container (2^16 numbers) holds consecutive forks of one CPU, and those
    of all CPUs are adjacent. The counts are wrong for more than 8192 CPUs, or 2^51 forks on one."""
    return ((sequence >> 16 & _BLOCKS) << 29) | cpu << 16 | sequence & 0xFFFF


def counter_source_id(stream: str, cgroup: int) -> int:
    return short_hash("holder", stream, cgroup)


def stream_id(stream: str) -> int:
    return short_hash("stream", stream)


def body_id(body: bytes) -> int:
    """Of an attribution's body, in the table `subject`."""
    return int.from_bytes(blake2b(body, digest_size=8).digest(), "big")


def pod_id(attribution: Attribution) -> int:
    """By cluster and uid, or by cluster, node and cgroup where no uid is known."""
    own = attribution.pod_uid if attribution.pod_uid is not None else f"{attribution.node}/cgroup-{attribution.cgroup}"
    return short_hash("pod", attribution.cluster, own)


def pod_key(attribution: Attribution) -> tuple[str, str]:
    """Namespace and pod that a fork is stored under. Both are empty for a host, and where the name is unknown: by a uid from
    the cgroup's path a static pod would not be found, for the API gives it another one."""
    return (attribution.namespace or "", attribution.pod) if attribution.pod is not None else ("", "")


def pod_keys(pods: Iterable[PodRow], counter_sources: Iterable[tuple[str, int]]) -> list[tuple[str, str, str]]:
    """Cluster, namespace and pod that forks of these pods and their counter sources may be stored under. The uid: as of builds
    of 0.1."""
    cgroups = {cgroup for _, cgroup in counter_sources}
    found = set()
    for pod in pods:
        found |= {(pod.cluster, pod.namespace or "", pod.name or ""), (pod.cluster, "", pod.uid or "")}
        found |= {(pod.cluster, "", f"cgroup-{cgroup}") for cgroup in cgroups}
    return sorted(found)
