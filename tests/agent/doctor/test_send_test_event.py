"""`forklore sinks test` says what to correct; the event that it sends is valid in every schema, harmless, and easy to find."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.doctor.send_test_event import NODE, main, send_event
from agent.lifecycle.build import build_sink_format
from agent.settings import SinkSettings
from agent.sinks.delivery.connections import Timeouts
from agent.sinks.test_event import make_test_event
from collector.ingest.lines import check_lines
from tests.agent.sinks.encoders import ecs_documents, ocsf_events
from tests.agent.sinks.encoders.plain_otel import attributes_of, parse_item
from tests.certificates import Authority
from tests.faults import Close, FaultProxy, Garbage, Half, Reset, Say, Stall

UNUSED = ("127.0.0.1", 9)  # a receiver that is never connected to
TOKEN = "0a1b2c3d-0a1b-2c3d"
Try = Callable[..., tuple[int, str]]


@pytest.fixture
def proxy() -> Iterator[FaultProxy]:
    with FaultProxy(UNUSED) as here:
        yield here


@pytest.fixture
def token(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    return file


@pytest.fixture
def try_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Try:
    """Runs the command with these sinks; returns exit code and output."""

    def out(*sinks: dict[str, Any], arguments: tuple[str, ...] = ()) -> tuple[int, str]:
        config = tmp_path / "agent.yaml"
        given = [{"name": f"siem{at}", **sink} for at, sink in enumerate(sinks)]
        config.write_text(yaml.safe_dump({"state_dir": str(tmp_path / "state"), "sinks": given}))
        code = main(["test", "--config", str(config), *arguments])
        output = capsys.readouterr()
        return code, output.out + output.err

    return out


# What is sent.


def test_it_sends_one_event_of_a_node_that_does_not_exist(proxy: FaultProxy, try_out: Try) -> None:
    proxy.usual = Say(200)
    code, output = try_out({"url": proxy.url("/in")})
    assert code == 0
    assert output.startswith("siem0: taken: 200\n    http, native, to 127.0.0.1:")
    assert f"look there for {NODE}, or for the event's id: " in output
    assert [request.path for request in proxy.requests] == ["/in"]


def test_each_event_has_a_new_id_and_no_real_boot_id() -> None:
    first, second = (make_test_event("siem", "demo", NODE, 18 * 10**17) for _ in range(2))
    assert first["id"] != second["id"]
    assert first["id"].partition(".")[0] != Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def test_the_collector_accepts_the_event_and_counts_nothing() -> None:
    event = make_test_event("siem", "demo", NODE, 18 * 10**17)
    lines = check_lines(json.dumps(event).encode() + b"\n", 1 << 18, 10)
    assert (lines.refused, len(lines.gaps)) == ([], 1)
    assert (lines.gaps[0].amount, lines.gaps[0].by_now) == (0, 0)


@pytest.mark.parametrize(
    ("protocol", "schema"), [("http", "ecs"), ("http", "ocsf"), ("elasticsearch", "ecs"), ("otlp", "otel")]
)
def test_the_event_is_valid_in_every_schema(protocol: str, schema: str) -> None:
    event = make_test_event("siem", "demo", NODE, 18 * 10**17)
    sink = SinkSettings.model_validate({"name": "siem", "url": "http://x", "protocol": protocol, "schema": schema})
    item = build_sink_format(sink, "demo", NODE, ()).encoder.event(event)
    match schema:
        case "otel":
            resource, record = parse_item(item)
            assert record.body.string_value == f"0 sched_process_fork missing on {NODE}: test (sink siem)"
            assert attributes_of(resource)["host.name"] == NODE
        case "ecs":
            document = json.loads(str(item).splitlines()[-1])
            assert list(ecs_documents.schema_errors(document)) == []
            assert (document["host"]["name"], document["event"]["reason"]) == (NODE, "test")
        case _:
            document = json.loads(item)
            assert list(ocsf_events.schema_errors(document)) == []
            assert (document["device"]["hostname"], document["status_code"], document["count"]) == (NODE, "test", 0)


# What went wrong, and what to correct.


@pytest.mark.parametrize(
    ("sink", "answer", "texts"),
    [
        ({"protocol": "otlp"}, Say(401), ["NOT taken: 401", "it requires a token: set `token_file`"]),
        ({"protocol": "otlp", "token": True}, Say(401), ["it does not know the token in {token}, sent as bearer: see `auth`"]),
        ({"protocol": "otlp", "token": True}, Say(403), ["it knows the token in {token}, sent as bearer, but does not allow"]),
        ({"protocol": "otlp"}, Say(404), ["nothing is at /v1/logs", "port 4318"]),
        ({}, Say(404), ["nothing is at the path of `url`"]),
        ({}, Say(405), ["accepts no POST"]),
        ({}, Say(410), ["is no longer in use"]),
        ({}, Say(413), ["one event is larger than its limit"]),
        ({}, Say(415), ["does not accept application/x-ndjson, gzip", "`framing`"]),
        ({}, Say(400, body=b"error: invalid 'Content-Type'"), ["does not accept application/x-ndjson, gzip"]),
        ({}, Say(302, {"Location": "https://user:pass@login.example:8443/s3cr3t"}), ["redirects to another address", "(https://login.example:8443?)"]),
        ({}, Say(302, {"Location": "/login"}), ["set `url` to it\n"]),
        ({}, Say(503, body=b"busy"), ["503 busy", "it can be reached, but is busy or has an error"]),
        ({}, Say(422, body=b"no"), ["it rejects the event itself: does it expect the schema native"]),
        ({}, Say(407), ["the proxy rejects our credentials"]),
        (
            {"protocol": "splunk_hec", "token": True},
            Say(403, body=b'{"text":"Invalid token","code":4}'),
            ["code 4, Invalid token: no such token", "token_file is {token}"],
        ),
        (
            {"protocol": "splunk_hec", "token": True},
            Say(400, body=b'{"text":"Incorrect index","code":7,"invalid-event-number":0}'),
            ["code 7, Incorrect index", "see the sink's index"],
        ),
        (
            {"protocol": "splunk_hec", "token": True},
            Say(400, body=b'{"text":"Invalid data format","code":6,"invalid-event-number":0}'),
            ["it rejects the event itself"],
        ),
        (
            {"protocol": "splunk_hec"},
            Say(200, body=b"<html>Sign in"),
            ["another program answers at /services/collector/event", "8088"],
        ),
        (
            {"protocol": "elasticsearch"},
            Say(200, body=b"<html>Kibana"),
            ["another program answers at /logs-forklore.process-default"],
        ),
        ({"protocol": "elasticsearch"}, Say(200, body=b'{"errors":true,"items":[{"create":{"status":404,"error":{"type":'
         b'"index_not_found_exception"}}}]}'), ["set up the data stream"]),
        ({"protocol": "elasticsearch"}, Say(403, body=b'{"error":{"type":"security_exception","reason":"no"},"status":403}'),
         ["create_doc"]),
        ({"protocol": "elasticsearch"}, Say(200, body=b'{"errors":true,"items":[{"create":{"status":400,"error":{"type":'
         b'"document_parsing_exception"}}}]}'), ["1 rejected", "component template"]),
        ({"protocol": "otlp"}, Say(200, {"Content-Type": "application/json"}, b'{"partialSuccess":{"rejectedLogRecords":"1",'
         b'"errorMessage":"too old"}}'), ["1 of 1 rejected: too old"]),
        ({}, Reset("body"), ["broke the connection", "load balancer"]),
        ({}, Close(), ["closed the connection without a response", "load balancer"]),
        ({}, Half(Say(200, body=b"x" * 100)), ["load balancer"]),
        ({}, Garbage(), ["should the url be https://?"]),
    ],
)  # fmt: skip
def test_each_failure_is_named_with_what_to_correct(
    sink: dict[str, Any], answer: Any, texts: list[str], proxy: FaultProxy, token: Path, try_out: Try
) -> None:
    proxy.usual = answer
    given = {key: value for key, value in sink.items() if key != "token"} | (
        {"token_file": str(token)} if "token" in sink else {}
    )
    path = "" if sink.get("protocol") else "/secret-path"
    code, output = try_out({"url": proxy.url(path), **given})
    assert code == 1
    assert output.startswith("siem0: NOT taken: ")
    for text in texts:
        assert text.format(token=token) in output, output
    assert TOKEN not in output
    assert "secret-path" not in output
    assert "s3cr3t" not in output


def test_an_unknown_host_and_a_port_without_a_listener_are_named(try_out: Try) -> None:
    code, output = try_out({"url": "https://nowhere.invalid/"}, {"url": "http://127.0.0.1:9/"})
    assert code == 1
    assert "nowhere.invalid:443: unknown host name" in output
    assert "the cluster's DNS" in output
    assert "127.0.0.1:9 can't be reached: Connection refused" in output
    assert "NetworkPolicy" in output


def test_a_missing_and_an_empty_token_file_are_named(proxy: FaultProxy, try_out: Try, tmp_path: Path) -> None:
    proxy.usual = Say(200)
    empty = tmp_path / "empty"
    empty.touch()
    code, output = try_out(
        {"url": proxy.url("/"), "token_file": "/nowhere/token"}, {"url": proxy.url("/"), "token_file": str(empty)}
    )
    assert code == 1
    assert "token_file /nowhere/token: No such file or directory" in output
    assert f"token_file {empty}: the token file is empty" in output
    assert proxy.requests == []


def test_a_certificate_of_an_unknown_authority_is_refused_and_of_a_known_one_accepted(try_out: Try, tmp_path: Path) -> None:
    authority = Authority()
    with FaultProxy(UNUSED, tls=authority.server()) as proxy:
        proxy.usual = Say(200)
        code, output = try_out({"url": proxy.url("/")}, {"url": proxy.url("/"), "ca_file": str(authority.file(tmp_path))})
    assert code == 1
    assert "siem0: NOT taken: " in output
    assert "from an unknown CA: set ca_file to that CA" in output
    assert "siem1: taken: 200" in output


def test_a_token_in_the_answer_is_not_shown(proxy: FaultProxy, try_out: Try, token: Path) -> None:
    proxy.usual = Say(401, body=f"no such token: {TOKEN}\x1b[2J".encode())
    _, output = try_out({"url": proxy.url("/"), "token_file": str(token)})
    assert "no such token: [secret]\\x1b[2J" in output
    assert TOKEN not in output


async def test_a_receiver_that_hangs_delays_the_command_only_briefly(proxy: FaultProxy) -> None:
    proxy.usual = Stall(5.0, Say(200))
    sink = SinkSettings(name="siem", url=proxy.url("/"))
    outcome = await send_event(
        sink, build_sink_format(sink, "demo", NODE, ()), make_test_event("siem", "demo", NODE, 0), Timeouts(1.0, 0.3, 0.3)
    )
    assert outcome[:2] == (False, f"127.0.0.1:{proxy.address[1]} timed out without a response")
    assert "NetworkPolicy" in outcome.advice


# The command.


def test_only_the_named_sink_is_tested_and_one_failure_fails_the_command(proxy: FaultProxy, try_out: Try) -> None:
    proxy.usual = Say(200)
    sinks = ({"url": proxy.url("/a")}, {"url": "http://127.0.0.1:9/"})
    assert try_out(*sinks)[0] == 1
    code, output = try_out(*sinks, arguments=("--sink", "siem0"))
    assert (code, "siem1" in output) == (0, False)
    code, output = try_out(*sinks, arguments=("--sink", "other"))
    assert (code, output) == (2, "forklore sinks: there is no sink other; the settings have: siem0, siem1\n")


def test_wrong_settings_and_settings_without_sinks_are_named(try_out: Try) -> None:
    assert try_out() == (78, "forklore sinks: settings: sinks: there are none\n")
    code, output = try_out({"url": "nowhere"})
    assert code == 78
    assert "sinks.0.url" in output


def test_it_needs_no_root_and_leaves_nothing_behind(proxy: FaultProxy, tmp_path: Path) -> None:
    proxy.usual = Say(200)
    config = tmp_path / "agent.yaml"
    sinks = [{"name": "siem", "url": proxy.url("/")}]
    config.write_text(yaml.safe_dump({"state_dir": str(tmp_path / "state"), "sinks": sinks}))
    for place in (*tmp_path.parents, tmp_path):
        if place.stat().st_uid == os.geteuid() and str(place).startswith("/tmp/"):
            place.chmod(0o755)
    unprivileged = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
    command = [sys.executable, "-m", "cli", "sinks", "test", "--config", str(config)]
    ran = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30, **unprivileged)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith("siem: taken: 200\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["agent.yaml"]
