"""What a receiver's answer means for a batch: one module a protocol, each with one pure function `answer`.

An answer's body is hostile input: whatever is in it, there is a fate and a line of text. What it does not say was taken never
counts as delivered. Must not live here: requests, pauses.
"""

from agent.sinks.delivery.responses.response import MOST_BYTES, Outcome, Result, retry_after

__all__ = ["MOST_BYTES", "Outcome", "Result", "retry_after"]
