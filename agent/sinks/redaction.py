"""Leaves parts of events out: labels and annotations that the settings do not allow, and fields by their names. Pure.

Both are encoders that wrap an encoder. Labels and annotations are removed from the attribution, once for each; fields by name
from the finished item, which is parsed and written again: 5 us for each event. Whole events are left out by `selection`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson

from agent.model import Attribution, Event, Fork
from agent.sinks.encoders.encoder import Encoder, Item
from agent.sinks.encoders.fragments import FragmentCache

__all__ = ["AllowedKeys", "FieldDropper", "PodRedactor"]


class AllowedKeys:
    """Keys that may leave the node: exact, or a prefix and a `*`. `patterns` None: every key."""

    def __init__(self, patterns: Collection[str] | None) -> None:
        self._all = patterns is None
        self._exact = frozenset(patterns or ())
        self._prefixes = tuple(one[:-1] for one in patterns or () if one.endswith("*"))

    def filter(self, given: Mapping[str, str]) -> Mapping[str, str]:
        """Returns the same object when nothing is left out."""
        kept = {key: value for key, value in given.items() if self._all or key in self._exact or key.startswith(self._prefixes)}
        return given if len(kept) == len(given) else kept


class PodRedactor:
    """Passes an encoder only the allowed labels and annotations of pods."""

    def __init__(self, encoder: Encoder, labels: AllowedKeys, annotations: AllowedKeys) -> None:
        self._encoder = encoder
        self._labels = labels
        self._annotations = annotations
        self._attributions: FragmentCache[Attribution, Attribution] = FragmentCache(self._attribution)

    def forks(self, stream: str, forks: Sequence[Fork]) -> Sequence[Item]:
        attributions = self._attributions
        return self._encoder.forks(stream, [fork._replace(attribution=attributions[fork.attribution]) for fork in forks])

    def event(self, event: Event) -> Item:
        k8s = dict(event["k8s"])
        for key, allowed in (("labels", self._labels), ("annotations", self._annotations)):
            if k8s.get(key) is not None:
                k8s[key] = allowed.filter(k8s[key])
        if not k8s.get("annotations", True):
            del k8s["annotations"]
        return self._encoder.event({**event, "k8s": k8s})

    def _attribution(self, attribution: Attribution) -> Attribution:
        pod = attribution.pod
        if pod is None:
            return attribution
        kept = replace(pod, labels=self._labels.filter(pod.labels), annotations=self._annotations.filter(pod.annotations))
        return replace(attribution, pod=kept)


class FieldDropper:
    """Removes fields from an encoder's JSON. `names`: dotted, from the top; array elements are searched, too."""

    def __init__(self, encoder: Encoder, names: Collection[str]) -> None:
        self._encoder = encoder
        self._names = [name.split(".") for name in names]

    def forks(self, stream: str, forks: Sequence[Fork]) -> list[str]:
        return [self._drop_fields(item) for item in self._encoder.forks(stream, forks)]

    def event(self, event: Event) -> str:
        return self._drop_fields(self._encoder.event(event))

    def _drop_fields(self, item: Item) -> str:
        document = orjson.loads(item)
        for name in self._names:
            _drop(document, name)
        return orjson.dumps(document).decode()


def _drop(value: Any, name: Sequence[str]) -> None:  # noqa: ANN401  any part of any JSON
    """A key may have dots of its own (`k8s.labels.app.kubernetes.io/name`), so every way to split the name is tried."""
    if isinstance(value, list):
        for element in value:
            _drop(element, name)
    elif isinstance(value, dict):
        value.pop(".".join(name), None)
        for at in range(1, len(name)):
            if (member := value.get(".".join(name[:at]))) is not None:
                _drop(member, name[at:])
