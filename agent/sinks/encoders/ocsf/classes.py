"""Which OCSF class an event is of, and that class's own attributes. Pure.

A fork is Process Activity: Launch, by fork. Why each of the agent's own events is of its class, docs/decisions/0005-schemas.md
says. Must not live here: what classes share (objects).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from agent.model import Event
from agent.sinks.encoders.facts import heads, known
from agent.sinks.encoders.ocsf.objects import int32, labels_of, leftovers_of, read_moment
from wire import events

__all__ = ["OCSF_VERSION", "PROFILES", "fork_class", "own_class", "own_leftovers"]

OCSF_VERSION: Final = "1.8.0"
PROFILES: Final = ("container", "datetime", "host")
_INFORMATIONAL, _LOW, _MEDIUM = 1, 2, 3  # severity_id
_FORK: Final = 2  # launch_type_id
_OTHER: Final = 99
_CREATE, _CLOSE = 1, 3  # activity_id of Detection Finding
_NEW, _RESOLVED = 1, 4  # status_id of Detection Finding
_FAILURE: Final = 2  # status_id of all else
_RULE: Final = 1  # analytic.type_id
_OS: Final = 1  # log_type_id
_TOLD: Final = frozenset({"event", "id", "timestamp", "interval", "k8s", "container", "cgroup", "enrichment"})


def fork_class(thread: bool) -> dict[str, Any]:
    """A new thread launches no process: it is no Launch, and a rule that looks for those must not find it."""
    if thread:
        return _class(1, 1007, _OTHER, _INFORMATIONAL) | {"activity_name": "Start Thread"}
    return _class(1, 1007, 1, _INFORMATIONAL) | {"launch_type_id": _FORK}


def own_class(event: Event) -> dict[str, Any]:
    """The class of an event of the agent's own; those that OCSF knows no better class for are Base Events."""
    match event["event"]:
        case events.FORK_STORM:
            own = _storm(event)
        case events.GAP:
            own = _gap(event)
        case kind:
            name = kind.replace("_", " ").title()
            own = {**_class(0, 0, _OTHER, _INFORMATIONAL), "activity_name": name, "count": _forks(event)}
    for end, text in event["interval"].items():
        own |= read_moment(f"{end}_time", text)
    return known(own)


def own_leftovers(event: Event) -> dict[str, Any]:
    """All that the class has no attribute for, by its name, also what a later kind may bring."""
    told = set(_TOLD)
    if event["event"] == events.FORK_STORM:
        told |= {"phase"}
    if event["event"] == events.GAP:
        told |= {"missing", "reason"} if int32(event["count"]) is None else {"missing", "reason", "count"}
    rest = {name: value for name, value in event.items() if name not in told}
    labels_told = event.get("container") is not None or (event["event"] == events.FORK_STORM and _pod(event["k8s"]) is not None)
    return known({**leftovers_of(event, labels_told=labels_told), **rest, "heads": heads(event)})


def _storm(event: Event) -> dict[str, Any]:
    """A finding that is created when the storm is noticed and closed when it is over; only the first is an alert."""
    begins = event["phase"] == "start"
    interval = event["interval"]
    return {
        **_class(2, 2004, _CREATE if begins else _CLOSE, _MEDIUM if begins else _INFORMATIONAL),
        "is_alert": begins,
        "status_id": _NEW if begins else _RESOLVED,
        "count": _forks(event),
        "finding_info": {
            "uid": event["id"].rpartition(".")[0],  # without the phase
            "title": "Fork storm",
            "analytic": {"name": events.FORK_STORM, "type_id": _RULE},
            **read_moment("first_seen_time", interval["start"]),
            **read_moment("last_seen_time", interval["end"]),
        },
        "resources": [pod] if (pod := _pod(event["k8s"])) else None,
    }


def _gap(event: Event) -> dict[str, Any]:
    """Events that are gone from a log: where one looks for logs that were cleared or switched off."""
    return {
        **_class(1, 1008, _OTHER, _LOW),
        "activity_name": "Lose",
        "log_name": event["missing"],
        "log_provider": "forklore",
        "log_type_id": _OS,
        "status_id": _FAILURE,
        "status_code": event["reason"],
        "count": int32(event["count"]),
    }


def _class(category: int, class_uid: int, activity: int, severity: int) -> dict[str, Any]:
    return {
        "category_uid": category,
        "class_uid": class_uid,
        "activity_id": activity,
        "type_uid": class_uid * 100 + activity,
        "severity_id": severity,
    }


def _pod(k8s: Mapping[str, Any]) -> dict[str, Any] | None:
    if k8s["pod"] is None and k8s["pod_uid"] is None:
        return None
    return known({
        "type": "pod",
        "name": k8s["pod"],
        "uid": k8s["pod_uid"],
        "namespace": k8s["namespace"],
        "labels": labels_of(k8s["labels"]),
    })  # fmt: skip


def _forks(event: Event) -> int | None:
    return int32(event["counts"]["processes"] + event["counts"]["threads"])
