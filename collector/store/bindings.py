"""Which node each stream belongs to: that of the first credential which is valid on one node only. Others are refused.

A token that several nodes share binds nothing, and cannot bring a stream that a node's own credential has brought. A stream
that was stored before bindings were belongs to its stored node: until a credential of that node comes, a shared token may go on
with it, under that node's name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from collector.model import CheckedBatch, Credential
from collector.store.newest import BY_CREDENTIAL, BY_STORED_NODE, Binding

__all__ = ["Bindings", "StreamRefused"]

_UNBOUND = Binding()


class StreamRefused(Exception):
    """Its text is a sentence for the sender. `why`: `node` (the batch has events of another node than the credential's) or
    `stream` (it belongs to another node). `belongs_to`: cluster and node, for the log."""

    def __init__(self, sentence: str, why: str, belongs_to: str = "") -> None:
        super().__init__(sentence)
        self.why, self.belongs_to = why, belongs_to


class Bindings:
    """Of one thread, the writer's, so of two nodes that bring a stream at once exactly one is the first. A stream that was not
    `read` has none."""

    def __init__(self) -> None:
        self._of: dict[str, Binding] = {}

    def read(self, stream: str, binding: Mapping[str, Any]) -> None:
        """As it is stored; one that is known stays when it is the earlier one."""
        self._of[stream] = min(self._of.get(stream, _UNBOUND), Binding(**binding))

    def forget(self, streams: Iterable[str]) -> None:
        """What was bound may not have been stored."""
        for stream in streams:
            self._of.pop(stream, None)

    def clear(self) -> None:
        self._of.clear()

    def bind(self, batch: CheckedBatch, credential: Credential | None, received: int) -> dict[str, Binding]:
        """The bindings that this batch makes. Raises StreamRefused: then nothing of it may be stored."""
        node = None if credential is None else credential.node
        bound = {stream: self._of.get(stream, _UNBOUND) for stream in batch.streams()}
        if node is None and all(one == _UNBOUND for one in bound.values()):
            return {}
        named = batch.nodes_by_stream()
        made = {}
        for stream, nodes in named.items():
            binding = bound[stream]
            if credential is not None and node is not None:
                _check_names(nodes, credential)
            _check_owner(stream, binding, nodes, credential)
            if node is not None and binding.by != BY_CREDENTIAL:
                ((cluster, _),) = nodes
                made[stream] = Binding(BY_CREDENTIAL, received, cluster, node)
        self._of |= made
        return made


def _check_names(nodes: set[tuple[str, str]], credential: Credential) -> None:
    """An agent's events are of the node that its credential is valid on."""
    cluster = credential.cluster
    for named in sorted(nodes):
        if named[1] != credential.node or cluster not in (None, named[0]):
            own = f"node {credential.node}" + ("" if cluster is None else f" of cluster {cluster}")
            raise StreamRefused(
                f"the token is of {own}, and the batch has events of node {named[1]} of cluster {named[0]}; "
                "see `node` and `cluster` in the agent's settings",
                "node",
            )
    if len(nodes) > 1:
        raise StreamRefused("the batch has events of more than one cluster in one stream", "node")


def _check_owner(stream: str, binding: Binding, nodes: set[tuple[str, str]], credential: Credential | None) -> None:
    if binding.by == BY_CREDENTIAL:
        is_owner = credential is not None and credential.node == binding.node and credential.cluster in (None, binding.cluster)
    else:
        is_owner = binding.by != BY_STORED_NODE or nodes == {(binding.cluster, binding.node)}
    if not is_owner:
        raise StreamRefused(
            f"the stream {stream} belongs to another node, or to this node's own token: its events are taken from there only",
            "stream",
            f"node {binding.node} of cluster {binding.cluster}",
        )
