"""What is left out of what leaves the node: labels and annotations that nobody asked for, fields by their names. Pure.

Encoders that wrap encoders. Labels and annotations are taken out of the nouns, before a schema sees them, once for each
subject; fields by name out of the finished item, which is read and written anew: 5 us an event. Must not live here: what leaves
out an event as a whole (selection).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson

from agent.model import Attribution, Event, Fork
from agent.sinks.encoders.encoder import Encoder, Item
from agent.sinks.encoders.fragments import ATTRIBUTIONS, Fragments

__all__ = ["Allowed", "Redacted", "Without"]


class Allowed:
    """Keys that may leave: exact, or all that begin with what stands before a `*`. None: every key."""

    def __init__(self, patterns: Collection[str] | None) -> None:
        self._all = patterns is None
        self._exact = frozenset(patterns or ())
        self._prefixes = tuple(one[:-1] for one in patterns or () if one.endswith("*"))

    def of(self, given: Mapping[str, str]) -> Mapping[str, str]:
        """The same object when nothing is left out."""
        kept = {key: value for key, value in given.items() if self._all or key in self._exact or key.startswith(self._prefixes)}
        return given if len(kept) == len(given) else kept


class Redacted:
    """A schema that never sees labels and annotations but those allowed."""

    def __init__(self, encoder: Encoder, labels: Allowed, annotations: Allowed) -> None:
        self._encoder = encoder
        self._labels = labels
        self._annotations = annotations
        self._attributions: Fragments[Attribution, Attribution] = Fragments(self._attribution, ATTRIBUTIONS)

    def forks(self, stream: str, forks: Sequence[Fork]) -> Sequence[Item]:
        attributions = self._attributions
        return self._encoder.forks(stream, [fork._replace(attribution=attributions[fork.attribution]) for fork in forks])

    def event(self, event: Event) -> Item:
        k8s = dict(event["k8s"])
        for key, allowed in (("labels", self._labels), ("annotations", self._annotations)):
            if k8s.get(key) is not None:
                k8s[key] = allowed.of(k8s[key])
        if not k8s.get("annotations", True):
            del k8s["annotations"]
        return self._encoder.event({**event, "k8s": k8s})

    def _attribution(self, attribution: Attribution) -> Attribution:
        pod = attribution.pod
        if pod is None:
            return attribution
        kept = replace(pod, labels=self._labels.of(pod.labels), annotations=self._annotations.of(pod.annotations))
        return replace(attribution, pod=kept)


class Without:
    """A schema's JSON without certain fields. `names`: dotted, from the top; into arrays, too."""

    def __init__(self, encoder: Encoder, names: Collection[str]) -> None:
        self._encoder = encoder
        self._names = [name.split(".") for name in names]

    def forks(self, stream: str, forks: Sequence[Fork]) -> list[str]:
        return [self._without(item) for item in self._encoder.forks(stream, forks)]

    def event(self, event: Event) -> str:
        return self._without(self._encoder.event(event))

    def _without(self, item: Item) -> str:
        document = orjson.loads(item)
        for name in self._names:
            _drop(document, name)
        return orjson.dumps(document).decode()


def _drop(value: Any, name: Sequence[str]) -> None:  # noqa: ANN401  it is any part of any JSON
    """A key may have dots of its own (`k8s.labels.app.kubernetes.io/name`), so every way to read the name is followed."""
    if isinstance(value, list):
        for inner in value:
            _drop(inner, name)
    elif isinstance(value, dict):
        value.pop(".".join(name), None)
        for at in range(1, len(name)):
            if (inner := value.get(".".join(name[:at]))) is not None:
                _drop(inner, name[at:])
