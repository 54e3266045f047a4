"""`forklore collector certificates` in processes: into a folder, and into objects of an API server over TLS."""

import base64
import json
import os
import ssl
import stat
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from collector.certificates.command import main
from tests.certificates import Authority

ROOT = Path(__file__).parents[3]
SECRET, CONFIG_MAP = "/api/v1/namespaces/forklore/secrets/certificates", "/api/v1/namespaces/forklore/configmaps/ca"


def command(*arguments, **environment):
    line = [sys.executable, "-m", "cli", "collector", "certificates", *arguments]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False, env=os.environ | environment)


class Handler(BaseHTTPRequestHandler):
    server: "ApiServer"

    def do_GET(self):
        self._answer(None)

    def do_PATCH(self):
        self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def _answer(self, patch):
        found = self.server.objects.get(self.path)
        self.server.requests.append((self.command, self.path))
        if self.headers["Authorization"] != "Bearer the-pods-token":
            return self._send(401, {})
        if found is None:
            return self._send(404, {})
        if patch is not None:
            behaviour, self.server.behaviour = self.server.behaviour, None
            if behaviour:
                behaviour(found)
            if patch["metadata"]["resourceVersion"] != found["metadata"]["resourceVersion"]:
                return self._send(409, {})
            found["data"] = found.get("data", {}) | patch["data"]
            found["metadata"] = {"resourceVersion": str(int(found["metadata"]["resourceVersion"]) + 1)}
        return self._send(200, found)

    def _send(self, status, body):
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


class ApiServer(ThreadingHTTPServer):
    """Has objects, and merges patches into their data as Kubernetes does. `behaviour`: called once, at the next patch."""

    def __init__(self, context):
        super().__init__(("127.0.0.1", 0), Handler)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.objects = {path: {"metadata": {"resourceVersion": "1"}} for path in (SECRET, CONFIG_MAP)}
        self.requests = []
        self.behaviour = None

    def data(self, path):
        return self.objects[path].get("data", {})


@pytest.fixture
def api(tmp_path, monkeypatch):
    authority = Authority()
    server = ApiServer(authority.server())
    (tmp_path / "token").write_text("the-pods-token\n")
    authority.file(tmp_path, "ca.crt")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def in_cluster(api, folder, *arguments):
    """The account's folder is fixed: so the command runs with another one in place of it."""
    code = (
        "import sys, pathlib; from collector.certificates import command, places\n"
        f"places.KubernetesObject.__init__.__defaults__ = (pathlib.Path({str(folder)!r}),)\n"
        "sys.exit(command.main(sys.argv[1:]))"
    )
    environment = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(api.server_address[1])}
    line = [sys.executable, "-c", code, "--secret", "forklore/certificates", "--server", "collector=forks.example", *arguments]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False, env=os.environ | environment)


def test_a_folder_gets_a_ca_and_a_certificate_and_only_its_owner_reads_the_keys(tmp_path):
    done = command("--folder", str(tmp_path / "tls"), "--server", "tls=forks.example,127.0.0.1")
    assert (done.returncode, done.stderr) == (0, "")
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "tls").iterdir()}
    assert modes == {"ca.crt": 0o644, "ca.key": 0o600, "tls.crt": 0o644, "tls.key": 0o600}
    before = (tmp_path / "tls/tls.crt").read_bytes()
    again = command("--folder", str(tmp_path / "tls"), "--server", "tls=forks.example,127.0.0.1")
    assert "nothing to do" in again.stdout
    assert (tmp_path / "tls/tls.crt").read_bytes() == before


def test_a_secret_and_a_copy_of_the_ca_are_written_once(api, tmp_path):
    copy = ("--copy", "configmap/forklore/ca=ca.crt")
    done = in_cluster(api, tmp_path, *copy)
    assert (done.returncode, done.stderr) == (0, "")
    secret = {name: base64.b64decode(text) for name, text in api.data(SECRET).items()}
    assert secret.keys() == {"ca.crt", "ca.key", "collector.crt", "collector.key"}
    assert api.data(CONFIG_MAP) == {"ca.crt": secret["ca.crt"].decode()}
    ssl.create_default_context(cadata=api.data(CONFIG_MAP)["ca.crt"])
    del api.requests[:]
    assert in_cluster(api, tmp_path, *copy).returncode == 0
    assert api.requests == [("GET", SECRET), ("GET", CONFIG_MAP)]


def test_what_somebody_else_made_meanwhile_is_kept(api, tmp_path):
    def other(found):
        in_cluster(api, tmp_path)  # the same command, between this one's read and its write

    api.behaviour = other
    done = in_cluster(api, tmp_path, "--copy", "configmap/forklore/ca=ca.crt")
    assert done.returncode == 0
    assert "nothing to do" in done.stdout
    assert api.objects[SECRET]["metadata"]["resourceVersion"] == "2", "one of the two wrote it"
    assert api.data(CONFIG_MAP)["ca.crt"] == base64.b64decode(api.data(SECRET)["ca.crt"]).decode()


def test_a_missing_secret_is_named_with_what_to_do(api, tmp_path):
    del api.objects[SECRET]
    done = in_cluster(api, tmp_path)
    assert done.returncode == 69
    assert "the secret forklore/certificates: GET was answered with 404" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--folder", "x"], "--server"),
        (["--folder", "x", "--server", "ca=a"], "NAME is not ca"),
        (["--folder", "x", "--server", "tls"], "right would be"),
        (["--folder", "x", "--server", "../tls=a"], "right would be"),
        (["--secret", "name", "--server", "tls=a"], "NAMESPACE/NAME"),
        (["--folder", "x", "--server", "tls=a", "--days", "0"], "1 to 36500"),
        (["--folder", "x", "--server", "tls=a", "--days", "90", "--ca-days", "90"], "more than --days"),
        (["--folder", "x", "--server", "tls=a", "--copy", "pod/a/b=ca.crt"], "right would be"),
    ],
)
def test_wrong_usage_is_refused_with_what_is_right(arguments, words, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 64
    assert words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
