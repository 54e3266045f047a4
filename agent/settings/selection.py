"""The settings of what leaves the node: `select` excludes pods and kinds of events; and the syntax of label keys."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from agent.settings.values import SettingsModel
from wire.events import KINDS

__all__ = ["AnnotationKeys", "LabelPatterns", "NamespacesSettings", "SelectSettings"]

_KEY: Final = r"(?:[a-z0-9.-]{1,253}/)?[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"  # Kubernetes' rule for a label's key
_VALUE: Final = r"[A-Za-z0-9._-]{0,63}"
_LIST: Final = rf"\(\s*{_VALUE}(?:\s*,\s*{_VALUE})*\s*\)"
_REQUIREMENT: Final = re.compile(
    rf"(?P<absent>!)?\s*(?P<key>{_KEY})(?:\s*(?P<sign>==?|!=)\s*(?P<value>{_VALUE})|\s+(?P<word>in|notin)\s*(?P<list>{_LIST}))?",
    re.ASCII,
)
_NAMESPACE: Final = re.compile(r"[a-z0-9*?\[\]!-]{1,63}", re.ASCII)
_LABEL: Final = re.compile(rf"{_KEY}|[A-Za-z0-9._/-]{{0,317}}\*", re.ASCII)


def parse_label_requirements(value: object) -> tuple[tuple[str, frozenset[str] | None, bool], ...]:
    """`app=cart, tier in (web, db), !debug` -> key, values (None: any), whether it must be one of them."""
    if not isinstance(value, str):
        raise ValueError("give label requirements in one text, in kubectl's syntax: app=cart, tier in (web, db), !debug")
    return tuple(_requirement(one.strip()) for one in re.split(r",(?![^(]*\))", value) if value.strip())


def _requirement(text: str) -> tuple[str, frozenset[str] | None, bool]:
    match = _REQUIREMENT.fullmatch(text)
    if match is None or (match["absent"] and (match["sign"] or match["word"])):
        raise ValueError(f"{text!r:.80} is none of key=value, key!=value, key in (a, b), key notin (a, b), key, !key")
    if match["list"]:
        return match["key"], frozenset(one.strip() for one in match["list"][1:-1].split(",")), match["word"] == "in"
    if match["sign"]:
        return match["key"], frozenset([match["value"]]), match["sign"] != "!="
    return match["key"], None, not match["absent"]


def _check_namespaces(patterns: tuple[str, ...]) -> tuple[str, ...]:
    for pattern in patterns:
        if not _NAMESPACE.fullmatch(pattern):
            raise ValueError(f"{pattern!r:.80} is no namespace: give a name, or a pattern with * or ?, like team-*")
    return patterns


def _check_label_patterns(keys: tuple[str, ...]) -> tuple[str, ...]:
    for key in keys:
        if not _LABEL.fullmatch(key):
            raise ValueError(
                f"{key!r:.80} is no label: give a key like app, or its beginning and a *, like app.kubernetes.io/*"
            )
    return keys


def _check_annotation_keys(keys: tuple[str, ...]) -> tuple[str, ...]:
    for key in keys:
        if not re.fullmatch(_KEY, key, re.ASCII):
            raise ValueError(f"{key!r:.80} is no annotation: give a whole key, like example.com/owner")
    return keys


def _check_kinds(kinds: tuple[str, ...]) -> tuple[str, ...]:
    if not kinds:
        raise ValueError(f"give at least one of {', '.join(KINDS)}: a sink without any gets nothing")
    return kinds


NamespacePatterns = Annotated[tuple[str, ...], AfterValidator(_check_namespaces)]
LabelPatterns = Annotated[tuple[str, ...], AfterValidator(_check_label_patterns)]
Kind = Literal["sched_process_fork", "fork_summary", "node_summary", "fork_storm", "gap"]
Kinds = Annotated[tuple[Kind, ...], AfterValidator(_check_kinds)]
AnnotationKeys = Annotated[tuple[str, ...], AfterValidator(_check_annotation_keys), Field(max_length=32)]


class NamespacesSettings(SettingsModel):
    include: NamespacePatterns = ()
    """Only pods of these namespaces: names, or patterns with `*` and `?`. Empty: all. A pod that the API has not named is in
    none of them."""
    exclude: NamespacePatterns = ()
    """Except these."""


class SelectSettings(SettingsModel):
    namespaces: NamespacesSettings = NamespacesSettings()
    labels: Annotated[tuple[tuple[str, frozenset[str] | None, bool], ...], BeforeValidator(parse_label_requirements)] = ()
    """Only pods with these labels, in kubectl's syntax: `app=cart, tier in (web, db), !debug`."""
    host: bool = True
    """Processes outside of pods too: the node's own services and the kubelet."""
    events: Kinds = KINDS
    """Kinds of events. Without `gap` and `node_summary` the receiver can't distinguish silence from loss."""
