"""Converts what a receiver has to native events, to compare it with what was sent.

Nulls are left out on both sides, and trailing zeros of times: Tenzir keeps one column for a field that only some events have,
and writes times in its own way.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from tests.agent.sinks.encoders import ecs_documents, ocsf_events
from tests.agent.sinks.encoders.plain_otel import attributes_of, expected, expected_body, nanoseconds

__all__ = ["Json", "ecs", "near", "ocsf", "of_otlp", "same_as_otlp", "without_nulls"]

Json = dict[str, Any]
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z")


def without_nulls(value: Any) -> Any:
    """Without nulls. Times have nine decimals."""
    if isinstance(value, Mapping):
        return {key: without_nulls(content) for key, content in value.items() if content is not None}
    if isinstance(value, list):
        return [without_nulls(content) for content in value]
    if isinstance(value, str) and (time := _TIME.fullmatch(value)):
        return f"{time[1]}.{(time[2] or '').ljust(9, '0')}Z"
    return value


class _Moment(int):
    """ns since 1970. Tenzir reads the decimals as a double, so they may differ by one."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Moment) and abs(self - other) <= 1

    __hash__ = int.__hash__


def near(value: Any) -> Any:
    """As `without_nulls`, with times that may differ by a nanosecond."""
    value = without_nulls(value)
    if isinstance(value, Mapping):
        return {key: near(content) for key, content in value.items()}
    if isinstance(value, list):
        return [near(content) for content in value]
    return _Moment(nanoseconds(value)) if isinstance(value, str) and _TIME.fullmatch(value) else value


def ecs(document: Json) -> Json:
    """The native event, from an ECS document."""
    of_fork = document["event"]["code"] == "sched_process_fork"
    return dict(without_nulls(ecs_documents.native_fork(document) if of_fork else ecs_documents.native_event(document)))


def ocsf(event: Json) -> Json:
    """The native event, from an OCSF event."""
    event = without_nulls(event)
    of_fork = event["metadata"]["event_code"] == "sched_process_fork"
    return dict(without_nulls(ocsf_events.native_fork(event) if of_fork else ocsf_events.native_event(event)))


def of_otlp(record: Json) -> Json:
    """Attributes by name, of a record as Tenzir writes it."""
    return {one["key"]: _value(one["value"]) for one in record["attributes"]}


def same_as_otlp(record: Json, native: Json) -> bool:
    """Whether the record is equal to the encoding by OpenTelemetry's own classes. A fork's message must only be there."""
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
    """Tenzir keeps arrays and lists of pairs as OTLP's JSON."""
    kind = value["kind"]
    return value[f"{kind}_value"] if kind in ("string", "int", "bool") else _from_json(json.loads(value["json_value"]))


def _from_json(value: Json) -> Any:
    ((kind, content),) = value.items() or (("nullValue", None),)
    match kind:
        case "arrayValue":
            return [_from_json(one) for one in content.get("values", ())]
        case "kvlistValue":
            return {one["key"]: _from_json(one["value"]) for one in content.get("values", ())}
        case "intValue":
            return int(content)
    return content
