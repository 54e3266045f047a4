"""An event that changes no sum, to find out whether a receiver accepts anything at all."""

from __future__ import annotations

import secrets
import uuid

from agent.model import Attribution, Event
from agent.sinks.encoders.native import k8s_fields
from agent.sinks.encoders.times import Rfc3339
from wire.events import FORK, GAP, TEST

__all__ = ["make_test_event"]


def make_test_event(sink: str, cluster: str, node: str, now: int) -> Event:
    """A gap with count 0: it is valid in every schema, and changes no sum. `now`: ns since 1970.

    Its id is new each time, with a boot id that no node has, so that no receiver has it already.
    """
    moment = Rfc3339()(now)
    return {
        "event": GAP,
        "id": f"{uuid.uuid4()}.{secrets.token_hex(8)}.gap.{sink}.test.0.0",
        "timestamp": moment,
        "interval": {"start": moment, "end": moment},
        "missing": FORK,
        "count": 0,
        "reason": TEST,
        "sink": sink,
        **k8s_fields(Attribution(0, None, "unresolved", None), cluster, node),
        "cgroup": None,
        "enrichment": {"state": "unresolved", "by": None, "lag_ms": 0},
    }
