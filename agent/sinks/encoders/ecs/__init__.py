"""The Elastic Common Schema, 9.4: `objects` (what is mapped to what), `encoder` (made fast, for every fork).

ECS allows objects of one's own beside its fields. `forklore` is ours: what ECS has no field for, by its name in wire.events.
`kubernetes` is that of Elastic's Kubernetes integration, whose dashboards join on it. What is unknown is left out.

Must not live here: delivery.
"""

from agent.sinks.encoders.ecs.encoder import EcsEncoder

__all__ = ["EcsEncoder"]
