"""OCSF 1.8: `objects` and `classes` (what is mapped to what), `encoder` (made fast, for every fork).

What is unknown is left out. What OCSF has no attribute for is under `unmapped`, by its name in wire.events. Must not live here:
delivery.
"""

from agent.sinks.encoders.ocsf.encoder import OcsfEncoder

__all__ = ["OcsfEncoder"]
