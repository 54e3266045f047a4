"""`protocol: elasticsearch`: the answers to `_bulk`, item by item, of Elasticsearch, OpenSearch and whoever speaks like them.

Must not live here: the making of `_bulk` bodies.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import orjson

from agent.model import Batch
from agent.sinks.delivery.responses.response import MOST_BYTES, Outcome, Result, interpret_status, retry_after, status_text
from agent.sinks.printable import printable

__all__ = ["interpret"]

_NOT_BULK: Final = "not an answer to _bulk, so nothing of it counts as taken: see the sink's url"
# What is wrong with the index or the key, and not with a document.
_TARGET: Final = frozenset({401, 403, 404})
_TARGET_TYPES: Final = frozenset({"index_closed_exception", "invalid_index_name_exception"})  # with status 400
_AGAIN_S: Final = 1.0  # before the items that a busy node refused are sent once more
_MOST_TYPES: Final = 3  # kinds of errors that are named, the most frequent first
_MOST_TYPE: Final = 60  # characters of each


def interpret(status: int, headers: Mapping[str, str], body: bytes, now: datetime, batch: Batch) -> Outcome:
    if not 200 <= status < 300:
        return interpret_status(status, status_text(status, _reason(_json(body)) or body), headers, now)
    if len(body) >= MOST_BYTES:
        # Half an answer is none, and it would be as long the next time. What was taken is a conflict then, which is as good.
        return Outcome(Result.SPLIT, f"{status} with an answer too long to be read; smaller bodies have shorter ones")
    reply = _json(body)
    if not isinstance(reply, dict):
        return Outcome(Result.HOLD, f"{status_text(status, body)}: {_NOT_BULK}")
    items = reply.get("items")
    if not items and reply.get("errors") is False:  # they were filtered out, or never told: all succeeded
        return Outcome(Result.ACCEPTED, f"{status} {batch.events} taken")
    if not isinstance(items, list) or len(items) != batch.events:
        many = f" with {len(items)} items" if isinstance(items, list) else ""
        return Outcome(Result.HOLD, f"{status_text(status, body)}: an answer{many} to {batch.events} documents is {_NOT_BULK}")
    return _item_by_item(status, [_outcome(item) for item in items], retry_after(headers.get("Retry-After"), now))


def _item_by_item(status: int, outcomes: Sequence[tuple[int | None, str]], pause_s: float | None) -> Outcome:
    """Each outcome: the item's own status, where it has one that can be read, and the kind of its error."""
    refused, again, errors = [], [], Counter[str]()
    for at, (own, error) in enumerate(outcomes):
        if own is None or own in (408, 429) or own >= 500:
            again.append(at)
        elif not 200 <= own < 300:
            refused.append(at)
        else:
            continue
        errors[error] += 1
    taken = len(outcomes) - len(refused) - len(again)
    named = ", ".join(f"{error} ({count})" for error, count in errors.most_common(_MOST_TYPES))
    text = f"{status} {taken} taken, {len(refused)} refused, {len(again)} to be sent again" + (f": {named}" if named else "")
    if not taken and not again and all(own in _TARGET or error in _TARGET_TYPES for own, error in outcomes):
        return Outcome(Result.HOLD, f"{text}; all of them, so it is the index or the key, not what is in the documents")
    if not taken and not refused:
        return Outcome(Result.RETRY, text, pause_s)
    if again and pause_s is None:
        pause_s = _AGAIN_S
    return Outcome(Result.ACCEPTED, text, pause_s if again else None, tuple(refused), tuple(again))


def _outcome(item: object) -> tuple[int | None, str]:
    """A conflict is what a document makes that is there already: 200."""
    if not isinstance(item, dict) or len(item) != 1:
        return None, "not understood"
    ((action, status_text),) = item.items()
    if not isinstance(status_text, dict) or type(status_text.get("status")) is not int:
        return None, "not understood"
    own: int = status_text["status"]
    if own == 409 and action == "create":
        return 200, ""
    return own, printable(_type(status_text) or str(own), _MOST_TYPE)


def _reason(reply: object) -> str | None:
    """Of a request that was refused as a whole, as Elasticsearch words it."""
    if not isinstance(reply, dict) or (kind := _type(reply)) is None:
        return None
    error = reply["error"]
    reason = error.get("reason") if isinstance(error, dict) else None
    return f"{kind}: {reason}" if isinstance(reason, str) else kind


def _type(status_text: dict[str, Any]) -> str | None:
    error = status_text.get("error")
    kind = error.get("type") if isinstance(error, dict) else error
    return kind if isinstance(kind, str) else None


def _json(body: bytes) -> object:
    try:
        reply: object = orjson.loads(body)
    except ValueError:
        return None
    return reply
