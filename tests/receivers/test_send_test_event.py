"""`forklore sinks test` with real receivers: its event arrives, and their responses are shown."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from agent.doctor.send_test_event import NODE, main
from collector.server.app import running_collector
from collector.settings import Settings as CollectorSettings
from tests.agent.sinks.encoders import ecs_documents

from .conftest import TOKEN
from .documents import of_otlp, without_nulls
from .processes import Osmem, Tenzir, until

pytestmark = [pytest.mark.receivers, pytest.mark.timeout(60)]
Try = Callable[..., tuple[int, str]]


@pytest.fixture
def token(tmp_path: Path) -> str:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    return str(file)


@pytest.fixture
def try_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Try:
    """Tries a sink with these settings; exit code and output."""

    def out(**sink: Any) -> tuple[int, str]:
        config = tmp_path / "agent.yaml"
        config.write_text(yaml.safe_dump({"cluster": "demo", "sinks": [{"name": "siem", **sink}]}))
        code = main(["test", "--config", str(config)])
        return code, capsys.readouterr().out

    return out


def event_id(output: str) -> str:
    """The id that the output names."""
    return output.rstrip().rpartition(" ")[2]


def arrives(tenzir: Tenzir, output: str, at: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    """The event as the receiver has it."""
    wanted = event_id(output)
    return dict(until(lambda: next((event for event in tenzir.events() if at(event) == wanted), None), "it arrives"))


@pytest.mark.parametrize("schema", ["native", "ocsf"])
def test_splunk_has_the_test_event(schema: str, hec: Tenzir, token: str, try_out: Try) -> None:
    code, output = try_out(url=hec.url(""), protocol="splunk_hec", schema=schema, token_file=token)
    assert (code, output.splitlines()[0]) == (0, "siem: taken: 200 code 0, Success")
    event = arrives(
        hec,
        output,
        lambda one: without_nulls(one["event"]).get("id") or without_nulls(one["event"]).get("metadata", {}).get("uid"),
    )
    assert (event["host"], event["sourcetype"]) == (NODE, f"forklore:{schema}")


def test_elasticsearch_has_the_test_event(osmem: Osmem, try_out: Try) -> None:
    index = f"trial-{secrets.token_hex(4)}"
    code, output = try_out(url=osmem.url(""), protocol="elasticsearch", index=index)
    assert (code, output.splitlines()[0]) == (0, "siem: taken: 200 1 accepted, 0 rejected, 0 to be sent again")
    document = osmem.documents(index)[event_id(output)]
    assert document["host"]["name"] == NODE
    assert list(ecs_documents.schema_errors(document)) == []


def test_an_otlp_receiver_has_the_test_event(otlp: Tenzir, try_out: Try) -> None:
    code, output = try_out(url=otlp.url(""), protocol="otlp")
    assert (code, output.splitlines()[0]) == (0, "siem: taken: 200")
    record = arrives(otlp, output, lambda one: of_otlp(one).get("log.record.uid"))
    assert (of_otlp(record["resource"])["host.name"], record["event_name"]) == (NODE, "process.fork.gap")


@pytest.mark.parametrize("schema", ["native", "ecs", "ocsf"])
def test_a_receiver_of_lines_has_the_test_event(schema: str, plain: Tenzir, try_out: Try) -> None:
    code, output = try_out(url=plain.url("/in"), schema=schema)
    assert (code, output.splitlines()[0]) == (0, "siem: taken: 200")
    wanted = event_id(output)
    event = until(lambda: next((one for one in plain.events() if wanted in json.dumps(one)), None), "it arrives")
    assert NODE in json.dumps(event)


@pytest.mark.parametrize(
    ("kind", "sink"),
    [
        ("splunk", {"protocol": "splunk_hec"}),
        ("http", {"framing": "json"}),
        ("elasticsearch", {"protocol": "elasticsearch", "path": "/_bulk", "data_stream": "logs-forklore.process-default"}),
        ("opentelemetry", {"protocol": "otlp"}),
    ],
)
def test_fluent_bit_has_the_test_event(kind: str, sink: dict[str, str], tenzir: Callable[[str], Tenzir], try_out: Try) -> None:
    fluent = tenzir(f'from_fluent_bit "{kind}", options={{listen: "127.0.0.1", port: PORT}}')
    code, output = try_out(url=fluent.url(sink.pop("path", "/" if kind == "http" else "")), **sink)
    assert code == 0, output
    if kind != "opentelemetry":  # Tenzir shows only its resources
        wanted = event_id(output)
        until(lambda: any(wanted in json.dumps(event) for event in fluent.events()), "it arrives")


async def test_forklores_collector_accepts_the_test_event_and_lists_no_node_for_it(tmp_path: Path, try_out: Try) -> None:
    async with (
        running_collector(CollectorSettings(listen="127.0.0.1:0", store="memory:")) as url,
        aiohttp.ClientSession() as http,
    ):
        code, output = await asyncio.to_thread(try_out, url=f"{url}/v1/events")
        assert code == 0, output
        async with http.get(f"{url}/v1/ledger") as answer:
            nodes = (await answer.json())["nodes"]
        async with http.get(f"{url}/v1/pods") as answer:
            pods = await answer.json()
    assert nodes == []
    assert pods["pods"] == []


def test_a_wrong_token_is_named_with_its_file(hec: Tenzir, tmp_path: Path, try_out: Try) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("0a1b2c3d-4e5f")
    code, output = try_out(url=hec.url(""), protocol="splunk_hec", token_file=str(wrong))
    assert code == 1
    assert output.splitlines()[0] == "siem: NOT taken: 403 code 4, Invalid token: no such token: is token_file this Splunk's?"
    assert f"token_file is {wrong}" in output
    assert "0a1b2c3d" not in output


def test_a_missing_token_and_a_wrong_scheme_are_named(hec: Tenzir, token: str, try_out: Try) -> None:
    assert "no token was sent: set token_file" in try_out(url=hec.url(""), protocol="splunk_hec")[1]
    assert "is it `Splunk <token>`" in try_out(url=hec.url(""), protocol="splunk_hec", token_file=token, auth="bearer")[1]


def test_a_wrong_path_is_named(hec: Tenzir, otlp: Tenzir, osmem: Osmem, try_out: Try) -> None:
    for receiver, protocol, words in (
        (hec, "splunk_hec", "8088"),
        (otlp, "otlp", "/v1/logs"),
        (osmem, "elasticsearch", "/_bulk"),
    ):
        code, output = try_out(url=receiver.url("/a/elsewhere"), protocol=protocol)
        assert code == 1
        assert words in output
        assert "nothing is at the path of `url`" in output or "no token was sent" in output
        assert "elsewhere" not in output.replace("[/a/elsewhere]", "")  # which is in OpenSearch's own response


def test_an_unsupported_compression_is_named(otlp: Tenzir, try_out: Try) -> None:
    code, output = try_out(url=otlp.url(""), protocol="otlp", compression="zstd")
    assert code == 1
    assert "it does not accept application/x-protobuf, zstd: try another `compression`" in output


def test_a_mapping_that_does_not_fit_is_named(osmem: Osmem, try_out: Try) -> None:
    index = f"trial-{secrets.token_hex(4)}"
    osmem.ask(f"/{index}", {"mappings": {"dynamic": "strict", "properties": {"@timestamp": {"type": "date"}}}}, "PUT")
    code, output = try_out(url=osmem.url(""), protocol="elasticsearch", index=index)
    assert code == 1
    assert "strict_dynamic_mapping_exception" in output
    assert "component template" in output


def test_an_unsupported_data_stream_is_named(osmem: Osmem, try_out: Try) -> None:
    name = f"logs-forklore.{secrets.token_hex(4)}-default"
    osmem.ask("/_index_template/forklore-trial", {"index_patterns": [name], "data_stream": {}, "priority": 501}, "PUT")
    code, output = try_out(url=osmem.url(""), protocol="elasticsearch", data_stream=name)
    assert code == 1, output
