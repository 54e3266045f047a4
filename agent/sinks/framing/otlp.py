"""OTLP over HTTP: items as an ExportLogsServiceRequest, with one ResourceLogs for each resource, its records in one scope.

An item is two protobuf fields, one after the other: ResourceLogs.resource and ScopeLogs.log_records, each with tag and length.
So a body is joined and split without parsing them. Field numbers: opentelemetry-proto 1.10, logs.proto.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from agent.sinks.protobuf import fields, nested, unsigned
from wire import VERSION

__all__ = ["SCHEMA_URL", "Otlp"]

# The version of the attributes' names. By it a collector can translate them to another version.
SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.44.0"
_SCHEMA: Final = nested(3, SCHEMA_URL.encode())  # of ResourceLogs and of ScopeLogs
_SCOPE: Final = nested(1, nested(1, b"forklore") + nested(2, VERSION.encode()))
_RESOURCE_LOGS, _SCOPE_LOGS, _RECORD = 1, 2, 2
_AROUND: Final = len(_SCOPE) + 2 * len(_SCHEMA) + 2 * 6  # two tags and two lengths of up to 5 bytes


class Otlp:
    """Items are grouped by resource."""

    content_type = "application/x-protobuf"

    def order(self, items: Sequence[bytes]) -> list[int] | None:
        """By resource, in the order of each resource's first item."""
        groups: dict[bytes, list[int]] = {}
        runs, resource = 0, b""
        places: list[int] = []
        for at, item in enumerate(items):
            # A resource contains its own length, so an item that starts with it has that resource.
            if not resource or not item.startswith(resource):
                runs, resource = runs + 1, _resource(item)
                places = groups.setdefault(resource, [])
            places.append(at)
        return None if runs == len(groups) else [at for group in groups.values() for at in group]

    def size(self, item: bytes) -> int:
        """As if it were the only item of its resource: nearly twice what most items add."""
        return len(item) + _AROUND

    def body(self, items: Sequence[bytes]) -> bytes:
        parts: list[bytes] = []
        records: list[bytes] = []
        resource = b""
        for item in items:
            if not resource or not item.startswith(resource):
                if records:
                    parts.append(_group(resource, records))
                resource, records = _resource(item), []
            records.append(item[len(resource) :])
        if records:
            parts.append(_group(resource, records))
        return b"".join(parts)

    def items(self, body: bytes) -> list[bytes]:
        items = []
        for _, _, _, start, end in fields(body):
            resource = b""
            for number, _, tag, content, after in fields(body, start, end):
                if number == 1:
                    resource = body[tag:after]
                elif number == _SCOPE_LOGS:
                    items += [
                        resource + body[at:stop] for what, _, at, _, stop in fields(body, content, after) if what == _RECORD
                    ]
        return items


def _resource(item: bytes) -> bytes:
    length, start = unsigned(item, 1, len(item))
    return item[: start + length]


def _group(resource: bytes, records: list[bytes]) -> bytes:
    scope_logs = nested(_SCOPE_LOGS, b"".join((_SCOPE, *records, _SCHEMA)))
    return nested(_RESOURCE_LOGS, resource + scope_logs + _SCHEMA)
