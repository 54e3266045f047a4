"""The OCSF class of each event, and the attributes of that class alone. Pure.

A fork is Process Activity: Launch, by fork. docs/decisions/0005-schemas.md has the reasons for the classes of the agent's own
events.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from agent.model import Event
from agent.sinks.encoders.ocsf.objects import int32, label_strings, parse_time_attributes, unmapped_attribution
from agent.sinks.encoders.shared_fields import head_list, without_nulls
from wire import events

__all__ = ["OCSF_VERSION", "PROFILES", "agent_event_class", "fork_class", "unmapped_agent_event"]

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
# Members of the agent's own events that have an attribute in all classes.
_MAPPED: Final = frozenset({"event", "id", "timestamp", "interval", "k8s", "container", "cgroup", "enrichment"})


def fork_class(thread: bool) -> dict[str, Any]:
    """Process Activity. A new thread is no Launch: rules that look for launches must not find it."""
    if thread:
        return _class(1, 1007, _OTHER, _INFORMATIONAL) | {"activity_name": "Start Thread"}
    return _class(1, 1007, 1, _INFORMATIONAL) | {"launch_type_id": _FORK}


def agent_event_class(event: Event) -> dict[str, Any]:
    """The class of an event of the agent itself. It is a Base Event if OCSF has no better class."""
    match event["event"]:
        case events.FORK_STORM:
            own = _storm(event)
        case events.GAP:
            own = _gap(event)
        case kind:
            name = kind.replace("_", " ").title()
            own = {**_class(0, 0, _OTHER, _INFORMATIONAL), "activity_name": name, "count": _forks(event)}
    for end, text in event["interval"].items():
        own |= parse_time_attributes(f"{end}_time", text)
    return without_nulls(own)


def unmapped_agent_event(event: Event) -> dict[str, Any]:
    """The fields that the class has no attribute for, by their names, also those that a later kind may have."""
    mapped = set(_MAPPED)
    if event["event"] == events.FORK_STORM:
        mapped |= {"phase"}
    if event["event"] == events.GAP:
        mapped |= {"missing", "reason"} if int32(event["count"]) is None else {"missing", "reason", "count"}
    rest = {name: value for name, value in event.items() if name not in mapped}
    labels_mapped = event.get("container") is not None or (
        event["event"] == events.FORK_STORM and _pod(event["k8s"]) is not None
    )
    return without_nulls({**unmapped_attribution(event, labels_mapped=labels_mapped), **rest, "heads": head_list(event)})


def _storm(event: Event) -> dict[str, Any]:
    """Detection Finding: created when the storm is detected, closed when it is over. Only the first is an alert."""
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
            **parse_time_attributes("first_seen_time", interval["start"]),
            **parse_time_attributes("last_seen_time", interval["end"]),
        },
        "resources": [pod] if (pod := _pod(event["k8s"])) else None,
    }


def _gap(event: Event) -> dict[str, Any]:
    """Event Log Activity, the class for logs that were cleared or switched off."""
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
    return without_nulls({
        "type": "pod",
        "name": k8s["pod"],
        "uid": k8s["pod_uid"],
        "namespace": k8s["namespace"],
        "labels": label_strings(k8s["labels"]),
    })  # fmt: skip


def _forks(event: Event) -> int | None:
    return int32(event["counts"]["processes"] + event["counts"]["threads"])
