"""A batch: newline-delimited JSON in a POST, and the collector's answer to it."""

from __future__ import annotations

from typing import Final, TypedDict

__all__ = ["BATCH_ID", "CONTENT_TYPE", "DELIVERED", "EVENTS_PATH", "SINK", "Receipt", "Refusal"]

EVENTS_PATH: Final = "/v1/events"
CONTENT_TYPE: Final = "application/x-ndjson"
# Header: the batch's own id, the same at every try, for other receivers. The collector does not read it: each event has an
# `id` of its own, however it is batched.
BATCH_ID: Final = "Idempotency-Key"
# Header: the agent's name for this sink. A collector needs it to ignore gaps of other sinks.
SINK: Final = "Forklore-Sink"
# Header: how many forks of the batch's stream the sink has accepted before. A collector with an empty store does not miss them.
DELIVERED: Final = "Forklore-Delivered"


class Refusal(TypedDict):
    """One refused line, counted from 0, and the reason."""

    line: int
    reason: str


class Receipt(TypedDict):
    """The answer to a batch, with status 200: accepted + duplicate + len(rejected) = lines."""

    accepted: int
    duplicate: int
    rejected: list[Refusal]
