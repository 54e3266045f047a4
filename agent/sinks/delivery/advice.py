"""What an operator can mend, when a receiver does not take an event or can't be reached. Pure.

The answers' own words come first; this is what the receiver can't know: which key of our settings, which file of ours. Must not
live here: what an answer means for a batch (answers), what went wrong on the way (troubles).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from agent.sinks.delivery.failures import Failure
from agent.sinks.delivery.responses import Outcome, Result
from agent.sinks.delivery.responses.response import is_misdirected

__all__ = ["RequestContext", "advice_on_failure", "advice_on_outcome"]

_ON_THE_WAY: Final = {
    "dns": "is the host in `url` right? A pod asks the cluster's DNS, which may not know what your own machine knows",
    "connect": "is the port in `url` right, and does a firewall or a NetworkPolicy let this node's pods out?",
    "timeout": "does a firewall or a NetworkPolicy drop what goes there, or does it need a `proxy`?",
    "disconnected": "is something in between, a load balancer or a proxy, that speaks another protocol there?",
    "half_answer": "is something in between, a load balancer or a proxy, that gives up too early?",
}
_PLACES: Final = {
    "splunk_hec": "it usually ends in /services/collector/event, on port 8088",
    "elasticsearch": "it ends in /_bulk, on port 9200; Fluent Bit wants nothing before that, and `data_stream` then says where",
    "otlp": "it usually ends in /v1/logs, on port 4318 (4317 is gRPC's, which is not spoken)",
    "http": "it is taken as it is: give the whole of it",
}
_ELASTIC: Final = {
    "index_not_found": "there is no such index and the key may not make one: set up the data stream, see docs/siem/elastic.md",
    "security_exception": "the key may not write there: it needs create_doc, and auto_configure for a data stream",
    "not supported": "it makes no data streams: give `index`, the name of an index that is none",
    "parsing": "the index maps a field to another type: use an index of forklore's own, with the component template from"
    " docs/siem/examples",
    "strict_dynamic": "the index takes no new fields: use an index of forklore's own, with the component template from"
    " docs/siem/examples",
}


class RequestContext(NamedTuple):
    """How a receiver was spoken to. `own_path`: the URL's path is of our own making; else it may be a secret."""

    protocol: str
    schema: str
    framing: str
    compression: str
    auth: str
    token_file: Path | None
    own_path: str | None
    headers: Mapping[str, str]


def advice_on_failure(trouble: Failure) -> str:
    """Empty when its text says it all."""
    return _ON_THE_WAY.get(trouble.kind, "")


def advice_on_outcome(status: int, outcome: Outcome, headers: Mapping[str, str], spoken: RequestContext) -> str:
    """`headers`: the answer's. Empty when its text says it all."""
    if outcome.result is Result.ACCEPTED and not (outcome.rejected_items or outcome.retry_items or outcome.rejected_count):
        return ""
    if spoken.protocol == "elasticsearch" and (words := _first(_ELASTIC, outcome.text)):
        return words
    if status == 404 or (is_misdirected(outcome.text) and "Content-Type" not in outcome.text):
        return f"there is nothing at {_path(spoken)}: see `url`; {_PLACES[spoken.protocol]}"
    if status == 415 or is_misdirected(outcome.text):
        kind = spoken.headers.get("Content-Type", "none")
        return f"it does not take {kind}, {spoken.compression}: try another {_form(spoken)}"
    if spoken.protocol == "splunk_hec" and outcome.result is Result.HOLD and " code " in outcome.text.partition(":")[0]:
        return f"token_file is {spoken.token_file}" if status in (401, 403) and spoken.token_file else ""
    if 300 <= status < 400:
        return f"it sends us elsewhere, where nothing of ours goes: give the right `url`{_elsewhere(headers)}"
    match status:
        case 401 | 403 if spoken.token_file is None:
            return "it wants a token: set `token_file`" + (", or `cert_file`" if status == 403 else "")
        case 401:
            return f"it does not know the token in {spoken.token_file}, shown as {spoken.auth}: see `auth`"
        case 403:
            return f"it knows the token in {spoken.token_file}, shown as {spoken.auth}, and lets it do something else only"
        case 405:
            return f"{_path(spoken)} takes no POST: see `url`; {_PLACES[spoken.protocol]}"
        case 407:
            return "the proxy wants other credentials: see `proxy`"
        case 410:
            return "this address was given up: ask whoever runs the receiver for another"
        case 413:
            return "it takes less than one event: its own limit is too low"
    if outcome.result is Result.RETRY:
        return "it is there, and busy or broken: the agent would try again until it takes it"
    if 200 <= status < 300 and outcome.result is Result.HOLD:
        return f"something else answers at {_path(spoken)}: see `url`; {_PLACES[spoken.protocol]}"
    return f"it refuses the event itself: does it expect {spoken.schema}, and in this form?"


def _first(words: Mapping[str, str], text: str) -> str:
    return next((told for word, told in words.items() if word in text), "")


def _path(spoken: RequestContext) -> str:
    return spoken.own_path or "the path of `url`"


def _elsewhere(headers: Mapping[str, str]) -> str:
    """The place's scheme, host and port: no more of it than of any URL."""
    scheme, found, rest = headers.get("Location", "").partition("://")
    place = rest.partition("/")[0].rpartition("@")[2]
    return f" ({scheme}://{place}?)" if found and place.isprintable() and scheme in ("http", "https") else ""


def _form(spoken: RequestContext) -> str:
    return "`compression`, or `framing`" if spoken.protocol == "http" else "`compression`"
