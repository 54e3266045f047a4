"""What a reader asks for."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Filter", "ForkQuery", "Place", "Span"]


class Span(NamedTuple):
    """Start included, end not."""

    start: int
    end: int


class Filter(NamedTuple):
    """Which pods: those that match every field; "" matches all. `workload`: `Deployment/cart`, or `cart` of whatever kind.

    `labels`: key and value, each of which the pod must have. `text`: somewhere in cluster, node, namespace, pod, uid, workload
    or a container's name, whatever its case.
    """

    cluster: str = ""
    namespace: str = ""
    node: str = ""
    pod: str = ""
    pod_uid: str = ""
    workload: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    text: str = ""


class ForkQuery(NamedTuple):
    """Which forks. `kind`: process or thread. `pid`: the host's or the pod's, of child or parent. `entity`: 16 hex digits, a
    process_entity_id or a parent_entity_id."""

    filter: Filter
    span: Span
    comm: str = ""
    parent_comm: str = ""
    kind: str = ""
    pid: int | None = None
    entity: str = ""


class Place(NamedTuple):
    """A fork's place in the order of time, where the next page begins. `stream`: its name."""

    time: int
    stream: str
    cpu: int
    sequence: int
