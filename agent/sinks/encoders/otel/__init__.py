"""The `otel` schema: OpenTelemetry log records with the semantic conventions' names, as protobuf. Pure.

A field that the conventions name has that name (`process.pid`, `k8s.pod.name`); all others are `forklore.` and their path in
the native event (`forklore.parent_comm`, `forklore.counts.lost`), so all fields of the native event are there. Unknown fields
are left out: OTLP has no null that receivers agree on.
"""

from agent.sinks.encoders.otel.encoder import OtelEncoder

__all__ = ["OtelEncoder"]
