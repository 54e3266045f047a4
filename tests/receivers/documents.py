"""What a receiver says it has -> the native event again, so that it can be compared with what was sent.

Nulls are left out on both sides, and a time's last zeros: Tenzir keeps one column for a field that only some events have, and
writes times its own way. Must not live here: receivers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from tests.agent.sinks import ecs_documents, test_ocsf
from tests.agent.sinks.plain_otel import attributes_of, expected, expected_body, nanoseconds

__all__ = ["Json", "ecs", "known", "near", "ocsf", "of_otlp", "same_as_otlp"]

Json = dict[str, Any]
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z")


def known(value: Any) -> Any:
    """Without nulls; times with nine digits after the second."""
    if isinstance(value, Mapping):
        return {key: known(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [known(inner) for inner in value]
    if isinstance(value, str) and (time := _TIME.fullmatch(value)):
        return f"{time[1]}.{(time[2] or '').ljust(9, '0')}Z"
    return value


class _Moment(int):
    """ns since 1970. Tenzir reads the part behind the point as a double, which may be one of them off."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Moment) and abs(self - other) <= 1

    __hash__ = int.__hash__


def near(value: Any) -> Any:
    """As `known`, with times that are equal when they are as good as equal."""
    value = known(value)
    if isinstance(value, Mapping):
        return {key: near(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [near(inner) for inner in value]
    return _Moment(nanoseconds(value)) if isinstance(value, str) and _TIME.fullmatch(value) else value


def ecs(document: Json) -> Json:
    """The native event, out of an ECS document."""
    of_fork = document["event"]["code"] == "sched_process_fork"
    return dict(known(ecs_documents.native_fork(document) if of_fork else ecs_documents.native_event(document)))


def ocsf(event: Json) -> Json:
    """The native event, out of an OCSF event."""
    event = known(event)
    of_fork = event["metadata"]["event_code"] == "sched_process_fork"
    return dict(known(test_ocsf.native_fork(event) if of_fork else test_ocsf.native_event(event)))


def of_otlp(record: Json) -> Json:
    """Attributes by name, of a record as Tenzir writes it."""
    return {one["key"]: _value(one["value"]) for one in record["attributes"]}


def same_as_otlp(record: Json, native: Json) -> bool:
    """Is the record what OpenTelemetry's own classes make of the native event? Of a fork's sentence, that there is one."""
    fork = native["event"] == "sched_process_fork"
    body = record["body"]["string_value"]
    resource, log = expected(native, body if fork else expected_body(native), native.get("kind") == "thread")
    return bool(body) and (
        near(of_otlp(record)) == near(attributes_of(log))
        and near(of_otlp(record["resource"])) == near(attributes_of(resource))
        and (body, record["event_name"]) == (log.body.string_value, log.event_name)
        and (record["severity_number"], record["severity_text"]) == (log.severity_number, log.severity_text)
        and near(record["time"]) == near(native["timestamp"])
    )


def _value(value: Json) -> Any:
    """Tenzir keeps what is an array or a list of pairs as OTLP's own JSON."""
    kind = value["kind"]
    return value[f"{kind}_value"] if kind in ("string", "int", "bool") else _inner(json.loads(value["json_value"]))


def _inner(value: Json) -> Any:
    ((kind, inner),) = value.items() or (("nullValue", None),)
    match kind:
        case "arrayValue":
            return [_inner(one) for one in inner.get("values", ())]
        case "kvlistValue":
            return {one["key"]: _inner(one["value"]) for one in inner.get("values", ())}
        case "intValue":
            return int(inner)
    return inner
