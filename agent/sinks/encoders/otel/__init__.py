"""The `otel` schema: OpenTelemetry log records with the semantic conventions' names, as protobuf. Pure.

What has a name there bears it (`process.pid`, `k8s.pod.name`); all else is `forklore.` and its path in the native event
(`forklore.parent_comm`, `forklore.counts.lost`), so nothing is left out that the native event says. What is unknown is absent:
OTLP has no null that receivers agree on. Must not live here: other schemas; how records make a body (framing).
"""

from agent.sinks.encoders.otel.encoder import OtelEncoder

__all__ = ["OtelEncoder"]
