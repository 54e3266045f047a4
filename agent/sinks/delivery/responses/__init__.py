"""What a receiver's response means for a batch: a module for each protocol, each with one pure function `interpret`.

A response's body is hostile input: whatever is in it, there is a result and one line of text. Events that it does not report as
accepted never count as delivered. This package must not send requests or wait.
"""

from agent.sinks.delivery.responses.response import MAX_BODY_BYTES, Outcome, Result, retry_after

__all__ = ["MAX_BODY_BYTES", "Outcome", "Result", "retry_after"]
