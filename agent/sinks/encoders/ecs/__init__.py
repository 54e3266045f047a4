"""The Elastic Common Schema, 9.4: `objects` maps fields, `encoder` makes documents fast.

ECS allows custom objects beside its fields. `forklore` is ours: it has the fields that ECS has no field for, by their names in
wire.events. `kubernetes` is that of Elastic's Kubernetes integration, whose dashboards join on it. Unknown fields are left out.
"""

from agent.sinks.encoders.ecs.encoder import EcsEncoder

__all__ = ["EcsEncoder"]
