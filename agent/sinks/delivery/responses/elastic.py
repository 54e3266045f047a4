"""`protocol: elasticsearch`: the responses to `_bulk`, item by item, of Elasticsearch, OpenSearch and compatible receivers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import orjson

from agent.model import Batch
from agent.sinks.delivery.responses.response import MAX_BODY_BYTES, Outcome, Result, interpret_status, retry_after, status_text
from agent.sinks.printable import printable

__all__ = ["interpret"]

_NOT_BULK: Final = "not a response to _bulk, so nothing counts as accepted: see the sink's url"
# What is wrong with the index, the cluster or the key, and not with a document: to be sent again.
_TARGET: Final = frozenset({401, 403, 404})
# With status 400. `validation_exception`: the cluster has as many shards as it may, so the index is not created.
_TARGET_TYPES: Final = frozenset({"index_closed_exception", "invalid_index_name_exception", "validation_exception"})
_RETRY_S: Final = 1.0  # before the items that a busy node rejected are sent once more
_MAX_TYPES: Final = 3  # types of errors that the text names, the most frequent first
_MAX_TYPE: Final = 60  # characters of each


class _ItemResult(NamedTuple):
    """Of one document. `status` None: it could not be read. `error`: its type."""

    status: int | None
    error: str

    @property
    def target_failed(self) -> bool:
        return self.status in _TARGET or self.error in _TARGET_TYPES

    @property
    def retryable(self) -> bool:
        return self.status is None or self.status in (408, 429) or self.status >= 500 or self.target_failed


def interpret(status: int, headers: Mapping[str, str], body: bytes, now: datetime, batch: Batch) -> Outcome:
    if not 200 <= status < 300:
        return interpret_status(status, status_text(status, _request_error(_json(body)) or body), headers, now)
    if len(body) >= MAX_BODY_BYTES:
        # Half a response cannot be read, and it would be as long the next time. Documents that were accepted are conflicts
        # then, which count as accepted.
        return Outcome(Result.SPLIT, f"{status} with a response too long to be read; smaller batches have shorter ones")
    content = _json(body)
    if not isinstance(content, dict):
        return Outcome(Result.HOLD, f"{status_text(status, body)}: {_NOT_BULK}")
    items = content.get("items")
    if not items and content.get("errors") is False:  # the items were filtered out: all succeeded
        return Outcome(Result.ACCEPTED, f"{status} {batch.events} accepted")
    if not isinstance(items, list) or len(items) != batch.events:
        many = f" with {len(items)} items" if isinstance(items, list) else ""
        return Outcome(Result.HOLD, f"{status_text(status, body)}: a response{many} to {batch.events} documents is {_NOT_BULK}")
    return _by_item(status, [_item_result(item) for item in items], retry_after(headers.get("Retry-After"), now))


def _by_item(status: int, results: Sequence[_ItemResult], pause_s: float | None) -> Outcome:
    rejected, retry, errors = [], [], Counter[str]()
    for at, item in enumerate(results):
        if item.retryable:
            retry.append(at)
        elif item.status is not None and not 200 <= item.status < 300:
            rejected.append(at)
        else:
            continue
        errors[item.error] += 1
    accepted = len(results) - len(rejected) - len(retry)
    named = ", ".join(f"{error} ({count})" for error, count in errors.most_common(_MAX_TYPES))
    text = f"{status} {accepted} accepted, {len(rejected)} rejected, {len(retry)} to be sent again" + (
        f": {named}" if named else ""
    )
    if not accepted and all(one.target_failed for one in results):
        return Outcome(Result.HOLD, f"{text}; all of them, so the index or the key is wrong, and not the documents")
    if not accepted and not rejected:
        return Outcome(Result.RETRY, text, pause_s)
    if retry and pause_s is None:
        pause_s = _RETRY_S
    return Outcome(Result.ACCEPTED, text, pause_s if retry else None, tuple(rejected), tuple(retry))


def _item_result(item: object) -> _ItemResult:
    """A conflict means that the document is there already, so its status becomes 200."""
    if not isinstance(item, dict) or len(item) != 1:
        return _ItemResult(None, "unreadable")
    (result,) = item.values()
    if not isinstance(result, dict) or type(result.get("status")) is not int:
        return _ItemResult(None, "unreadable")
    status: int = result["status"]
    if status == 409:
        return _ItemResult(200, "")
    return _ItemResult(status, printable(_error_type(result) or str(status), _MAX_TYPE))


def _request_error(content: object) -> str | None:
    """Why a request was rejected as a whole, in Elasticsearch's words."""
    if not isinstance(content, dict) or (kind := _error_type(content)) is None:
        return None
    error = content["error"]
    reason = error.get("reason") if isinstance(error, dict) else None
    return f"{kind}: {reason}" if isinstance(reason, str) else kind


def _error_type(result: dict[str, Any]) -> str | None:
    error = result.get("error")
    kind = error.get("type") if isinstance(error, dict) else error
    return kind if isinstance(kind, str) else None


def _json(body: bytes) -> object:
    try:
        content: object = orjson.loads(body)
    except ValueError:
        return None
    return content
