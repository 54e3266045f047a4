"""A batch on its way: newline-delimited JSON in a POST, and the collector's answer to it."""

from __future__ import annotations

from typing import Final, TypedDict

__all__ = ["BATCH_ID", "CONTENT_TYPE", "EVENTS_PATH", "SINK", "Receipt", "Refusal"]

EVENTS_PATH: Final = "/v1/events"
CONTENT_TYPE: Final = "application/x-ndjson"
# Header: the batch's own id, the same at every try. Events are told apart by their own `id`, however they are batched.
BATCH_ID: Final = "Idempotency-Key"
# Header: what the agent calls this sink. A gap in another sink is none here, and only so does a collector know which one it is.
SINK: Final = "Forklore-Sink"


class Refusal(TypedDict):
    """One line that was not taken, counted from 0, and why."""

    line: int
    reason: str


class Receipt(TypedDict):
    """The answer to a batch, with status 200: accepted + duplicate + len(rejected) = lines."""

    accepted: int
    duplicate: int
    rejected: list[Refusal]
