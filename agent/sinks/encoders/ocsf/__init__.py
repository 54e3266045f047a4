"""OCSF 1.8: `objects` and `classes` map fields, `encoder` makes events fast.

Unknown fields are left out. Fields that OCSF has no attribute for are under `unmapped`, by their names in wire.events.
"""

from agent.sinks.encoders.ocsf.encoder import OcsfEncoder

__all__ = ["OcsfEncoder"]
