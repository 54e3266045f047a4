"""docs/openapi.json, the collector's API as OpenAPI 3.1: `.venv/bin/python dev/generate/openapi.py` writes it.

The schemas are the TypedDicts of wire/ with their docstrings, the limits are the constants of `collector.api`. A test compares
the file with this module's document, and the document with the answers of a running collector.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from collector.api import forks, pods  # noqa: E402  the path comes first
from collector.http.query_params import FORK_PARAMETERS, KINDS, POD_PARAMETERS  # noqa: E402
from dev.generate.json_schemas import Schema, Schemas  # noqa: E402
from wire import VERSION, api, batch, events  # noqa: E402

FILE: Final = ROOT / "docs/openapi.json"
JSON: Final = "application/json"


class Parameter(NamedTuple):
    name: str
    text: str
    schema: Schema
    where: str = "query"


class Answer(NamedTuple):
    """`schemas`: by content type. `headers`: name and meaning of each."""

    text: str
    schemas: dict[str, Schema]
    headers: tuple[tuple[str, str], ...] = ()


class Endpoint(NamedTuple):
    """`errors`: statuses, each answered with an `Error`."""

    method: str
    path: str
    text: str
    parameters: tuple[Parameter, ...]
    answer: Answer
    errors: tuple[int, ...]
    body: Schema | None = None


SCHEMAS: Final = Schemas()
of = SCHEMAS.of


def integer(name: str, text: str, default: int | None, most: int) -> Parameter:
    schema: Schema = {"type": "integer", "minimum": 1, "maximum": most}
    return Parameter(name, text, schema if default is None else {**schema, "default": default})


def string(name: str, text: str, **schema: object) -> Parameter:
    return Parameter(name, text, {"type": "string", **schema})


def known(parameters: Iterable[Parameter], names: Sequence[str]) -> tuple[Parameter, ...]:
    """In the order of `names`, which must be the parameters' names."""
    by_name = {parameter.name: parameter for parameter in parameters}
    if by_name.keys() != set(names):
        raise ValueError(f"{sorted(by_name)} are not {sorted(names)}")
    return tuple(by_name[name] for name in names)


WHICH_PODS: Final = known(
    (
        string("cluster", "exact"),
        string("namespace", "exact"),
        string("workload", "`Deployment/cart`, or `cart` of any kind"),
        string("node", "exact"),
        string("pod", "exact"),
        string("pod_uid", "exact"),
        Parameter("label", "`app=cart`; may be given several times", {"type": "array", "items": {"type": "string"}}),
        string("text", "part of a name, in any case"),
    ),
    POD_PARAMETERS,
)
WHICH_FORKS: Final = known(
    (
        string("comm", "exact"),
        string("parent_comm", "exact"),
        string("kind", "of the new task", enum=list(KINDS)),
        integer("pid", "on the host or in the pod, of child or parent", None, 2**31 - 1),
        string("entity", "entity id of child or parent", pattern="^[0-9a-f]{16}$"),
    ),
    FORK_PARAMETERS,
)
RANGE: Final = (
    string("from", "RFC 3339, or relative to now: `-15m`", default=pods.DEFAULT_START),
    string("to", "as `from`; not included", default="now"),
)
ONE_POD: Final = (
    Parameter("namespace", "", {"type": "string"}, "path"),
    Parameter("pod", "", {"type": "string"}, "path"),
    *(parameter for parameter in WHICH_PODS if parameter.name in pods.IDENTITY),
)
ERRORS: Final = {
    400: "A parameter is wrong or unknown; the error names it.",
    401: "A token is required.",
    403: "A page of another site may not send anything.",
    404: "There is no such pod.",
    408: "The body did not arrive in time.",
    413: "The batch is too large.",
    415: "The content type or encoding is not supported.",
    421: "Without tokens the collector answers by address or as localhost only.",
    429: "Too many requests; `Retry-After` says when to try again.",
    503: "The store does not answer, or there are too many requests at once; `Retry-After` says when to try again.",
}
READ_ERRORS: Final = (400, 401, 421, 429, 503)
EVENTS: Final = (events.Fork, events.ForkSummary, events.NodeSummary, events.ForkStorm, events.Gap)

ENDPOINTS: Final = (
    Endpoint(
        "post",
        batch.EVENTS_PATH,
        "Stores a batch of events.",
        (
            Parameter("Content-Encoding", "of the body", {"type": "string", "enum": ["identity", "gzip", "zstd"]}, "header"),
            Parameter(batch.BATCH_ID, "the batch's id, the same at every attempt", {"type": "string"}, "header"),
            Parameter(batch.SINK, "the agent's name for this sink", {"type": "string"}, "header"),
            Parameter(batch.DELIVERED, "forks of the stream that the sink accepted before", {"type": "integer"}, "header"),
        ),
        Answer("What became of the lines.", {JSON: of(batch.Receipt)}),
        (400, 401, 403, 408, 413, 415, 421, 429, 503),
        {"type": "string", "description": "One event a line.", "x-lines": {"anyOf": [of(event) for event in EVENTS]}},
    ),
    Endpoint(
        "get",
        "/v1/pods",
        "Pods, hosts and nodes with their exact counts.",
        (*WHICH_PODS, integer("limit", "pods", pods.PODS, pods.MAX_ENTRIES)),
        Answer("The pods that were found.", {JSON: of(api.PodList)}),
        READ_ERRORS,
    ),
    Endpoint(
        "get",
        "/v1/pods/{namespace}/{pod}",
        "One pod: counts, containers, latest forks, storms, gaps.",
        (integer("limit", "of each list", pods.LATEST_FORKS, pods.MAX_ENTRIES), *ONE_POD),
        Answer("The newest pod of that name.", {JSON: of(api.PodDetail)}),
        (*READ_ERRORS, 404),
    ),
    Endpoint(
        "get",
        "/v1/pods/{namespace}/{pod}/tree",
        "Who forked whom, and pairs of names.",
        (*RANGE, integer("limit", "processes, the newest", pods.PROCESSES, pods.MAX_PROCESSES), *ONE_POD),
        Answer("The lineage of the range.", {JSON: of(api.ForkTree)}),
        (*READ_ERRORS, 404),
    ),
    Endpoint(
        "get",
        "/v1/pods/{namespace}/{pod}/timeline",
        "What each container did in each step.",
        (*RANGE, string("step", "a duration: `10s`, `5m`, `1h`; by default chosen by the range"), *ONE_POD),
        Answer("The range in whole steps.", {JSON: of(api.Timeline)}),
        (*READ_ERRORS, 404),
    ),
    Endpoint(
        "get",
        "/v1/ledger",
        "How many of the captured forks arrived, stream by stream, and what became of the others.",
        (),
        Answer("All nodes.", {JSON: of(api.LedgerPage)}),
        READ_ERRORS,
    ),
    Endpoint(
        "get",
        "/v1/forks",
        "Forks as they were sent, the newest first: a page of JSON, or all of them as a file.",
        (
            *WHICH_PODS,
            *WHICH_FORKS,
            *RANGE,
            Parameter(
                "limit",
                "forks; for a file the setting `export_forks` by default and at most",
                {"type": "integer", "minimum": 1, "default": forks.DEFAULT_FORKS},
            ),
            string("after", "`next` of an earlier answer"),
            string("format", "of the answer", enum=["json", "ndjson", "csv"], default="json"),
        ),
        Answer(
            "The forks that were found.",
            {
                JSON: of(api.ForkPage),
                "application/x-ndjson": {
                    "type": "string",
                    "description": "One fork a line; the last line of a file that does not contain everything is a `Cut`.",
                    "x-lines": {"anyOf": [of(events.Fork), of(api.Cut)]},
                },
                "text/csv": {"type": "string", "description": "RFC 4180, with a head."},
            },
            (("Forklore-Limit", "How many forks a file contains at most."),),
        ),
        READ_ERRORS,
    ),
    Endpoint(
        "get",
        "/v1/stream",
        "Forks as they are stored, and ticks when there is anything new, as server-sent events.",
        (
            *WHICH_PODS,
            *WHICH_FORKS,
            string("events", "only these; by default both", enum=["fork", "pods"]),
            Parameter("Last-Event-ID", "continues behind that event", {"type": "string"}, "header"),
        ),
        Answer(
            "An endless stream.",
            {
                "text/event-stream": {
                    "type": "string",
                    "description": "Each event's data is JSON.",
                    "x-events": {"fork": of(events.Fork), "pods": of(api.PodsTick), "lost": of(api.LostForks)},
                }
            },
        ),
        READ_ERRORS,
    ),
)


def document() -> dict[str, Any]:
    error = of(api.Error)
    paths: dict[str, Any] = {}
    for endpoint in ENDPOINTS:
        answers: dict[str, Any] = {"200": _answer(endpoint.answer)}
        answers |= {str(status): _answer(Answer(ERRORS[status], {JSON: error})) for status in sorted(endpoint.errors)}
        operation: dict[str, Any] = {
            "summary": endpoint.text,
            "parameters": [_parameter(parameter) for parameter in endpoint.parameters],
            "responses": answers,
        }
        if endpoint.body:
            operation["requestBody"] = {"required": True, "content": {batch.CONTENT_TYPE: {"schema": endpoint.body}}}
        paths.setdefault(endpoint.path, {})[endpoint.method] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "forklore's collector",
            "version": VERSION,
            "description": "Times are RFC 3339 UTC with nanoseconds, counts are tasks, null means unknown. "
            "Later versions may add keys.",
        },
        "security": [{}, {"bearer": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            "schemas": dict(sorted(SCHEMAS.by_name.items())),
        },
    }


def rendered() -> str:
    return json.dumps(document(), indent=1, ensure_ascii=False) + "\n"


def _parameter(parameter: Parameter) -> dict[str, Any]:
    shown = {"name": parameter.name, "in": parameter.where, "schema": parameter.schema}
    if parameter.text:
        shown["description"] = parameter.text
    return {**shown, "required": True} if parameter.where == "path" else shown


def _answer(answer: Answer) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "description": answer.text,
        "content": {kind: {"schema": schema} for kind, schema in answer.schemas.items()},
    }
    if answer.headers:
        shown["headers"] = {name: {"description": text, "schema": {"type": "string"}} for name, text in answer.headers}
    return shown


if __name__ == "__main__":
    FILE.write_text(rendered(), encoding="utf-8")
