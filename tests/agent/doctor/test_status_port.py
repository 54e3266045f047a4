"""The status port: free, used by an agent, or used by another program."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from agent.doctor.checks.status_port import StatusPort, judge_status_port, read_status_port, samples
from wire import VERSION

METRICS = f"""# HELP forklore_agent_info The agent.
# TYPE forklore_agent_info gauge
forklore_agent_info{{version="{VERSION}",node="node1"}} 1.0
"""


@contextmanager
def serving(answers):
    """`answers`: path -> status and text."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            status, text = answers.get(self.path, (404, ""))
            self.send_response(status)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def check_port(where, results_of):
    return results_of([judge_status_port(read_status_port(where))])["status port"]


def test_an_agent_that_is_ready_is_ok(results_of):
    with serving({"/readyz": (200, "ok\n"), "/metrics": (200, METRICS)}) as where:
        result = check_port(where, results_of)
    assert result.verdict == "ok"
    assert f"an agent {VERSION} answers on {where}, and is ready" in result.text


def test_an_agent_that_is_not_ready_fails_with_its_reason(results_of):
    with serving({"/readyz": (503, "the journal: No space left on device\n"), "/metrics": (200, METRICS)}) as where:
        result = check_port(where, results_of)
    assert (result.verdict, "No space left on device" in result.text) == ("fail", True)


def test_an_agent_of_another_version_is_a_warning(results_of):
    with serving({"/readyz": (200, "ok\n"), "/metrics": (200, METRICS.replace(VERSION, "9.9.9"))}) as where:
        result = check_port(where, results_of)
    assert (result.verdict, "9.9.9" in result.text) == ("warn", True)


def test_an_agent_that_is_starting_is_recognized(results_of):
    starting = (503, "capture is about to begin\n")
    with serving({"/readyz": (503, "not capturing"), "/metrics": starting}) as where:
        assert check_port(where, results_of).verdict == "fail"
    with serving({"/readyz": starting, "/metrics": starting}) as where:
        assert "an agent answers" in check_port(where, results_of).text


@pytest.mark.parametrize(
    "answers",
    [
        {},
        {"/readyz": (200, "ok"), "/metrics": (200, "go_goroutines 12\n")},
        {"/readyz": (200, "ok"), "/metrics": (200, "\x1b[2J{{{ not metrics \x00")},
        {"/readyz": (200, "ok"), "/metrics": (500, "")},
    ],
)
def test_another_program_that_answers_is_no_agent(results_of, answers):
    with serving(answers) as where:
        result = check_port(where, results_of)
    assert (result.verdict, "no agent" in result.text) == ("fail", True)
    assert "`status`" in result.cure


def test_a_port_of_a_program_that_does_not_speak_http_is_in_use(results_of):
    def noise():
        connection, _ = taken.accept()
        with connection:
            connection.sendall(b"SSH-2.0-whatever\r\n")

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        threading.Thread(target=noise, daemon=True).start()
        result = check_port(f"127.0.0.1:{taken.getsockname()[1]}", results_of)
    assert (result.verdict, "Address already in use" in result.text) == ("fail", True)


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost"])
def test_an_unused_port_is_free(results_of, host):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    result = check_port(f"{host}:{port}", results_of)
    assert (result.verdict, "no agent runs here" in result.text) == ("ok", True)


@pytest.mark.parametrize("host", ["0.0.0.0", "localhost"])
def test_an_agent_is_found_under_each_name_of_its_address(results_of, host):
    with serving({"/readyz": (200, "ok\n"), "/metrics": (200, METRICS)}) as where:
        assert "is ready" in check_port(f"{host}:{where.partition(':')[2]}", results_of).text


def test_an_address_of_another_machine_can_not_be_bound(results_of):
    assert results_of(
        [judge_status_port(StatusPort("192.0.2.1:9911", "", bind_error="Cannot assign requested address"))]
    ).failed


def test_a_proxy_in_the_environment_is_not_used(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with serving({"/metrics": (200, METRICS)}) as where:
        assert samples(f"http://{where}")
