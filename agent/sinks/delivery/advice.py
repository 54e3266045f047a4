"""What an operator can change, when a receiver does not accept an event or cannot be reached. Pure.

It complements the text of an outcome or failure by what only the agent knows: which setting, and which file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from agent.sinks.delivery.failures import Failure
from agent.sinks.delivery.responses import Outcome, Result
from agent.sinks.delivery.responses.response import TLS_CURE, is_misdirected

__all__ = ["RequestContext", "advice_on_failure", "advice_on_outcome"]

_BY_FAILURE: Final = {
    "dns": "is the host in `url` right? A pod asks the cluster's DNS, which may not know what your own machine knows",
    "connect": "is the port in `url` right, and does a firewall or a NetworkPolicy let this node's pods out?",
    "timeout": "does a firewall or a NetworkPolicy drop what goes there, or does it need a `proxy`?",
    "disconnected": "is something in between, a load balancer or a proxy, that expects another protocol?",
    "half_answer": "is something in between, a load balancer or a proxy, that times out too early?",
}
_BY_PROTOCOL: Final = {
    "splunk_hec": "it usually ends in /services/collector/event, on port 8088",
    "elasticsearch": "it ends in /_bulk, on port 9200; for Fluent Bit it is /_bulk alone, and `data_stream` names the target",
    "otlp": "it usually ends in /v1/logs, on port 4318 (4317 is for gRPC, which is not supported)",
    "http": "it is used as it is: give the complete URL",
}
_BY_ELASTIC_ERROR: Final = {
    "index_not_found": "there is no such index and the key may not create one: set up the data stream,"
    " see docs/siem/elastic.md",
    "security_exception": "the key may not write there: it needs create_doc, and auto_configure for a data stream",
    "not supported": "it supports no data streams: set `index` to the name of an ordinary index",
    "parsing": "the index maps a field to another type: use an index of forklore's own, with the component template from"
    " docs/siem/examples",
    "strict_dynamic": "the index accepts no new fields: use an index of forklore's own, with the component template from"
    " docs/siem/examples",
}


class RequestContext(NamedTuple):
    """The settings of a request. `own_path`: the URL's path, when the agent made it; else None, since it may be a secret."""

    protocol: str
    schema: str
    framing: str
    compression: str
    auth: str
    token_file: Path | None
    own_path: str | None
    headers: Mapping[str, str]


def advice_on_failure(failure: Failure) -> str:
    """Empty when the failure's text is enough."""
    return _BY_FAILURE.get(failure.kind, "")


def advice_on_outcome(status: int, outcome: Outcome, headers: Mapping[str, str], request: RequestContext) -> str:
    """`status`, `headers`: of the response. Empty when the outcome's text is enough."""
    if outcome.result is Result.ACCEPTED and not (outcome.rejected_items or outcome.retry_items or outcome.rejected_count):
        return ""
    if outcome.text.endswith(TLS_CURE):
        return ""
    if request.protocol == "elasticsearch" and (text := _first(_BY_ELASTIC_ERROR, outcome.text)):
        return text
    if status == 404 or (is_misdirected(outcome.text) and "Content-Type" not in outcome.text):
        return f"nothing is at {_path(request)}: see `url`; {_BY_PROTOCOL[request.protocol]}"
    if status == 415 or is_misdirected(outcome.text):
        kind = request.headers.get("Content-Type", "none")
        return f"it does not accept {kind}, {request.compression}: try another {_settings(request)}"
    if request.protocol == "splunk_hec" and outcome.result is Result.HOLD and " code " in outcome.text.partition(":")[0]:
        return f"token_file is {request.token_file}" if status in (401, 403) and request.token_file else ""
    if 300 <= status < 400:
        return f"it redirects to another address, which is not followed: set `url` to it{_location(headers)}"
    match status:
        case 401 | 403 if request.token_file is None:
            return "it requires a token: set `token_file`" + (", or `cert_file`" if status == 403 else "")
        case 401 | 403 if request.protocol == "http" and outcome.text.startswith(f"{status} the token "):
            return f"token_file is {request.token_file}: docs/access.md has each reason, and what to do"
        case 401:
            return f"it does not know the token in {request.token_file}, sent as {request.auth}: see `auth`"
        case 403:
            return f"it knows the token in {request.token_file}, sent as {request.auth}, but does not allow it to send events"
        case 405:
            return f"{_path(request)} accepts no POST: see `url`; {_BY_PROTOCOL[request.protocol]}"
        case 407:
            return "the proxy rejects our credentials: see `proxy`"
        case 410:
            return "this address is no longer in use: ask the receiver's operator for another"
        case 413:
            return "one event is larger than its limit: raise the limit there"
    if outcome.result is Result.RETRY:
        return "it can be reached, but is busy or has an error: the agent would try again until it accepts the event"
    if 200 <= status < 300 and outcome.result is Result.HOLD:
        return f"another program answers at {_path(request)}: see `url`; {_BY_PROTOCOL[request.protocol]}"
    return f"it rejects the event itself: does it expect the schema {request.schema}?"


def _first(advice: Mapping[str, str], text: str) -> str:
    return next((one for word, one in advice.items() if word in text), "")


def _path(request: RequestContext) -> str:
    return request.own_path or "the path of `url`"


def _location(headers: Mapping[str, str]) -> str:
    """The redirection's scheme, host and port: the rest of a URL may be a secret."""
    scheme, separator, rest = headers.get("Location", "").partition("://")
    host = rest.partition("/")[0].rpartition("@")[2]
    return f" ({scheme}://{host}?)" if separator and host.isprintable() and scheme in ("http", "https") else ""


def _settings(request: RequestContext) -> str:
    return "`compression`, or `framing`" if request.protocol == "http" else "`compression`"
