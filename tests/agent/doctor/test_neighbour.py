"""The status port: free, an agent's, or somebody else's."""

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


def look(where, said):
    return said([judge_status_port(read_status_port(where))])["status port"]


def test_an_agent_that_is_ready_is_fine(said):
    with serving({"/readyz": (200, "ok\n"), "/metrics": (200, METRICS)}) as where:
        finding = look(where, said)
    assert finding.verdict == "ok"
    assert f"an agent {VERSION} answers on {where}, and is ready" in finding.text


def test_an_agent_that_is_not_says_why(said):
    with serving({"/readyz": (503, "the journal: No space left on device\n"), "/metrics": (200, METRICS)}) as where:
        finding = look(where, said)
    assert (finding.verdict, "No space left on device" in finding.text) == ("fail", True)


def test_an_agent_of_another_version_is_a_warning(said):
    with serving({"/readyz": (200, "ok\n"), "/metrics": (200, METRICS.replace(VERSION, "9.9.9"))}) as where:
        finding = look(where, said)
    assert (finding.verdict, "9.9.9" in finding.text) == ("warn", True)


def test_an_agent_that_is_about_to_begin_is_one(said):
    begins = (503, "capture is about to begin\n")
    with serving({"/readyz": (503, "not capturing"), "/metrics": begins}) as where:
        assert look(where, said).verdict == "fail"
    with serving({"/readyz": begins, "/metrics": begins}) as where:
        assert "an agent answers" in look(where, said).text


@pytest.mark.parametrize(
    "answers",
    [
        {},
        {"/readyz": (200, "ok"), "/metrics": (200, "go_goroutines 12\n")},
        {"/readyz": (200, "ok"), "/metrics": (200, "\x1b[2J{{{ not metrics \x00")},
        {"/readyz": (200, "ok"), "/metrics": (500, "")},
    ],
)
def test_something_else_that_answers_is_no_agent(said, answers):
    with serving(answers) as where:
        finding = look(where, said)
    assert (finding.verdict, "no agent" in finding.text) == ("fail", True)
    assert "`status`" in finding.cure


def test_a_port_that_is_taken_by_what_speaks_no_http_is_taken(said):
    def noise():
        connection, _ = taken.accept()
        with connection:
            connection.sendall(b"SSH-2.0-whatever\r\n")

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        threading.Thread(target=noise, daemon=True).start()
        finding = look(f"127.0.0.1:{taken.getsockname()[1]}", said)
    assert (finding.verdict, "Address already in use" in finding.text) == ("fail", True)


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost"])
def test_a_port_that_nobody_has_is_free(said, host):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    finding = look(f"{host}:{port}", said)
    assert (finding.verdict, "no agent runs here" in finding.text) == ("ok", True)


@pytest.mark.parametrize("host", ["0.0.0.0", "localhost"])
def test_an_agent_is_found_by_whatever_name_its_address_has(said, host):
    with serving({"/readyz": (200, "ok\n"), "/metrics": (200, METRICS)}) as where:
        assert "is ready" in look(f"{host}:{where.partition(':')[2]}", said).text


def test_an_address_of_another_machine_cannot_be_had(said):
    assert said([judge_status_port(StatusPort("192.0.2.1:9911", "", taken="Cannot assign requested address"))]).failed


def test_a_proxy_in_the_environment_is_not_asked(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with serving({"/metrics": (200, METRICS)}) as where:
        assert samples(f"http://{where}")
