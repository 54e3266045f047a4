"""docs/openapi.json describes the running collector: routes, parameters, answers (every key and no other), errors, stream."""

import asyncio
import json
from copy import deepcopy
from pathlib import Path
from typing import get_args

import aiohttp
import pytest
import pytest_asyncio
from jsonschema import Draft202012Validator

from collector.api import stream
from collector.query import StoreReader
from collector.server.app import make_app
from collector.settings import Settings
from collector.store import StoreUnavailable
from dev.generate.openapi import FILE, rendered
from wire.api_keys import Key

DOCUMENT = json.loads(Path(FILE).read_text())
SECOND = 1_000_000_000
READS = {path: operation["get"] for path, operation in DOCUMENT["paths"].items() if "get" in operation}
# An address for each path, with all that is optional in its answer.
ADDRESSES = {
    "/v1/pods": "/v1/pods",
    "/v1/pods/{namespace}/{pod}": "/v1/pods/shop/cart-1",
    "/v1/pods/{namespace}/{pod}/tree": "/v1/pods/shop/cart-1/tree",
    "/v1/pods/{namespace}/{pod}/timeline": "/v1/pods/shop/cart-1/timeline",
    "/v1/ledger": "/v1/ledger",
    "/v1/forks": "/v1/forks?limit=2",
}


def closed(schema):
    """The same schema, in which no object may have a key that is not described."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    shut = {key: closed(value) for key, value in schema.items()}
    return {**shut, "additionalProperties": False} if "properties" in schema and "type" in schema else shut


COMPONENTS = closed(DOCUMENT["components"])


def validator(schema):
    return Draft202012Validator({**schema, "components": COMPONENTS})


def answer_schema(path, status="200", kind="application/json"):
    return READS[path]["responses"][status]["content"][kind]["schema"]


def is_valid(schema, value):
    return not list(validator(schema).iter_errors(value))


def check(schema, value):
    assert [f"{error.json_path}: {error.message}" for error in validator(schema).iter_errors(value)] == []


def everything(make):
    """Events that give every list of every answer at least one entry."""
    sandbox = make.gap(0, None, "not_observable", pod="vm-1", cgroup=900)
    sandbox.update(container=None, missing="sched_process_fork")
    start = make.now - 60 * SECOND
    parent = make.fork(1, at=start, cgroup=1)
    parent.update(process_entity_id="a" * 16, parent_entity_id="f" * 16)
    child = make.fork(2, at=start + SECOND, cgroup=1)
    child.update(process_entity_id="b" * 16, parent_entity_id="a" * 16)
    annotated = make.fork(3, pod="web-1", cgroup=2)
    annotated["k8s"]["annotations"] = {"owner": "me"}
    return [
        parent,
        child,
        annotated,
        make.fork(4, kind="thread", cgroup=1),
        make.unresolved(make.fork(5, pod="late", cgroup=7)),
        make.host(make.fork(6)),
        make.fork(7, uid="another", at=start - 60 * SECOND, cgroup=8),
        make.summary(1, 40, now=40, cgroup=1, lost=1),
        make.host_summary(1, 55),
        make.gap(45, 40, cgroup=1),
        make.gap(9, 9, "journal_full", sink="siem", cgroup=1),
        make.node_gap(700, 700),
        make.storm(1, "stop", start=start - 9 * SECOND, end=start, processes=9, cgroup=4790),
        make.storm(2, "start", start=make.now - 2 * SECOND, end=make.now - SECOND, processes=9, cgroup=4790),
        sandbox,
        make.node(1, heads={0: 12}, sinks={"collector": make.sink(5, 2, {"rejected": 1}, 1), "siem": make.sink(7)}),
        make.node(1, heads={0: 2}, node="node2", stream=make.stream[:-1] + "9", delivered=1),
    ]


@pytest_asyncio.fixture(loop_scope="session")
async def filled(running, make):
    async with running() as client:
        assert (await client.post(*everything(make)))["rejected"] == []
        yield client


def test_the_document_is_what_the_generator_makes():
    assert FILE.read_text() == rendered(), "run .venv/bin/python dev/generate/openapi.py"


def test_every_schema_is_valid_and_every_reference_resolves():
    schemas = DOCUMENT["components"]["schemas"]
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)
        assert set(schema["required"]) <= schema["properties"].keys()
    references = {part.split('"')[0] for part in json.dumps(DOCUMENT).split('"$ref": "')[1:]}
    assert references == {f"#/components/schemas/{name}" for name in schemas}


def test_the_terminal_may_read_the_keys_of_the_answers_and_no_others():
    """`wire.api_keys.Key` has the keys of all schemas of answers, down to the last one."""
    waiting, seen = [json.dumps([operation["responses"] for operation in READS.values()])], {}
    while waiting:
        for reference in waiting.pop().split("#/components/schemas/")[1:]:
            name = reference.partition('"')[0]
            if name not in seen:
                seen[name] = DOCUMENT["components"]["schemas"][name]
                waiting.append(json.dumps(seen[name]))
    assert set(get_args(Key)) == {key for schema in seen.values() for key in schema["properties"]}


def test_the_document_has_every_route_of_the_api_and_no_other():
    app = make_app(Settings(listen="127.0.0.1:0"), object())
    routes = {
        (route.method.lower(), route.resource.canonical)
        for route in app.router.routes()
        if route.resource.canonical.startswith("/v1/") and route.method != "HEAD"
    }
    assert routes == {(method, path) for path, operations in DOCUMENT["paths"].items() for method in operations}
    assert ADDRESSES.keys() == READS.keys() - {"/v1/stream"}


@pytest.mark.parametrize("path", READS)
async def test_the_document_has_every_parameter_and_no_other(client, path):
    address = (ADDRESSES | {"/v1/stream": "/v1/stream"})[path].partition("?")[0]
    error = (await client.get(f"{address}?nonsense=1", status=400))["error"]
    accepted = error.partition("there are ")[2].split(", ")
    described = [parameter["name"] for parameter in READS[path]["parameters"] if parameter["in"] == "query"]
    assert sorted(accepted) == sorted(described or ["none"])


@pytest.mark.parametrize("path", ADDRESSES)
async def test_an_answer_has_every_key_and_no_other(filled, path):
    answer, schema = await filled.get(ADDRESSES[path]), answer_schema(path)
    check(schema, answer)
    for key in answer:
        assert not is_valid(schema, {name: value for name, value in answer.items() if name != key})
    assert not is_valid(schema, answer | {"additional": 1})


async def test_nested_entries_have_every_key_and_no_other(filled):
    """Each of these lists has an entry, so the test above has compared all of its keys."""
    pods, pod = await filled.get("/v1/pods"), await filled.get("/v1/pods/shop/cart-1")
    tree, timeline = await filled.get("/v1/pods/shop/cart-1/tree"), await filled.get("/v1/pods/shop/cart-1/timeline")
    (ledger, *_), found = (await filled.get("/v1/ledger"))["nodes"], await filled.get("/v1/forks?limit=2")
    for entries in (
        *(pods[key] for key in ("pods", "host", "nodes")),
        *(pod[key] for key in ("containers", "latest", "storms", "gaps", "node_gaps", "others", "top", "history")),
        *(tree[key] for key in ("roots", "pairs")),
        tree["roots"][0]["children"],
        *(timeline[key] for key in ("containers", "storms", "gaps", "node_gaps")),
        ledger["streams"],
        *(ledger["streams"][0][key] for key in ("holes", "gaps", "cpus")),
        found["forks"],
    ):
        assert entries
    assert pod["storm"] and pod["history_interval"] and pod["missing_elsewhere"] and found["next"]
    schema = answer_schema("/v1/pods/{namespace}/{pod}")
    for change in (lambda one: one["containers"][0].pop("image"), lambda one: one["latest"][0]["k8s"].update(other=1)):
        changed = deepcopy(pod)
        change(changed)
        assert not is_valid(schema, changed)


async def test_a_pod_with_unknown_counts_and_a_pod_without_a_name_fit_the_schema(filled):
    pods = (await filled.get("/v1/pods"))["pods"]
    assert any(pod["processes"] is None for pod in pods) and any(pod["pod"] is None for pod in pods)
    check(answer_schema("/v1/pods/{namespace}/{pod}"), await filled.get("/v1/pods/shop/vm-1"))
    check(answer_schema("/v1/pods/{namespace}/{pod}/timeline"), await filled.get("/v1/pods/shop/vm-1/timeline"))


async def test_empty_answers_fit_the_schema(client):
    for path in ("/v1/pods", "/v1/ledger", "/v1/forks"):
        check(answer_schema(path), await client.get(path))


async def test_a_receipt_and_its_refusals_fit_the_schema(client, make):
    responses = DOCUMENT["paths"]["/v1/events"]["post"]["responses"]
    schema = responses["200"]["content"]["application/json"]["schema"]
    receipt = await client.post(make.fork(1), b"{}")
    assert receipt["accepted"] == 1 and receipt["rejected"]
    check(schema, receipt)
    assert not is_valid(schema, {**receipt, "rejected": [{"line": 0}]})
    refusals = [
        await client.raw(b"{}", status=415, Content_Type="text/html"),
        await client.raw(b"no gzip", status=400, Content_Encoding="gzip"),
    ]
    for status, refusal in zip(("415", "400"), refusals, strict=True):
        check(responses[status]["content"]["application/json"]["schema"], refusal)


async def test_errors_fit_the_schema(running, make, tmp_path, monkeypatch):
    token = tmp_path / "token"
    token.write_text("secret")
    async with running(token_file=token) as client:
        for path, address in ADDRESSES.items():
            check(answer_schema(path, "401"), await client.get(address, status=401))
    async with running() as client:
        for path, address in ADDRESSES.items():
            check(answer_schema(path, "400"), await client.get(address.partition("?")[0] + "?nonsense=1", status=400))
        for path in (path for path in ADDRESSES if "{pod}" in path):
            check(answer_schema(path, "404"), await client.get(ADDRESSES[path], status=404))

        async def away(*_arguments, **_options):
            raise StoreUnavailable("away")

        with monkeypatch.context() as patch:
            for method in ("pods", "pod", "ledger", "search"):
                patch.setattr(StoreReader, method, away)
            for path, address in ADDRESSES.items():
                check(answer_schema(path, "503"), await client.get(address, status=503))
    async with running(read_rate=1) as client:
        while (answer := await status_and_body(client, "/v1/ledger"))[0] == 200:
            pass
        assert answer[0] == 429
        check(answer_schema("/v1/ledger", "429"), answer[1])


async def status_and_body(client, address):
    async with client.session.get(client.url + address) as answer:
        return answer.status, await answer.json()


async def test_lines_of_an_export_fit_the_schema(running, make):
    lines_schema = answer_schema("/v1/forks", kind="application/x-ndjson")["x-lines"]
    async with running() as client:
        await client.post(*everything(make))
        text = await client.get("/v1/forks?format=ndjson&limit=3")
        lines = [json.loads(line) for line in text.splitlines()]
        assert lines[-1]["event"] == "cut"
        for line in lines:
            check(lines_schema, line)
        assert not is_valid(lines_schema, lines[0] | {"additional": 1})
        assert not is_valid(lines_schema, {"event": "cut", "forks": 3})


async def test_events_of_the_stream_fit_the_schema(running, make, monkeypatch):
    monkeypatch.setattr(stream, "POLL_INTERVAL", 0.05)
    monkeypatch.setattr(stream, "MAX_LAG", -1.0)  # every reader is late, so that forks are skipped
    schemas = answer_schema("/v1/stream", kind="text/event-stream")["x-events"]
    async with running() as client, client.session.get(f"{client.url}/v1/stream") as late:
        await client.post(*(make.fork(n) for n in range(3)))
        seen = await read_events(late, {"lost", "pods"})
        assert seen["lost"]["forks"] == 3
        monkeypatch.setattr(stream, "MAX_LAG", 20.0)
        await client.post(make.fork(9))
        seen |= await read_events(late, {"fork"})
    for kind, event in seen.items():
        check(schemas[kind], event)
        assert not is_valid(schemas[kind], event | {"additional": 1})
    assert seen.keys() == schemas.keys()


async def read_events(answer: aiohttp.ClientResponse, kinds):
    """The first event of each of these kinds."""
    seen, kind = {}, ""
    async with asyncio.timeout(10):
        while kinds - seen.keys():
            name, _, value = (await answer.content.readline()).decode().rstrip("\n").partition(": ")
            if name == "event":
                kind = value
            elif name == "data":
                seen.setdefault(kind, json.loads(value))
    return {kind: event for kind, event in seen.items() if kind in kinds}
