"""Real receivers as processes of their own: Tenzir (with Fluent Bit inside) and osmem, an OpenSearch in memory.

dev/setup/receivers puts them into .cache.
"""

from __future__ import annotations

import http.client
import json
import os
import secrets
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

__all__ = ["Osmem", "Tenzir", "free_port", "until"]

FOLDER = Path(__file__).parents[2] / ".cache/receivers"
PATIENCE_S = 60.0  # for what takes five at the most, on a busy machine


def until(holds: Callable[[], Any], what: str, seconds: float = PATIENCE_S) -> Any:
    """Waits until the result is true, and returns it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := holds():
            return value
        time.sleep(0.02)
    raise AssertionError(f"waited {seconds} s in vain for: {what}")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class _Process:
    """A process that listens on a port until the end of the block. `port` stays the same when it is started again."""

    def __init__(self, command: list[str], folder: Path, name: str, port: int) -> None:
        self.port = port
        self.address = ("127.0.0.1", port)
        self.stdout_file = folder / f"{name}.out"
        self.stderr_file = folder / f"{name}.err"
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Any:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def url(self, path: str = "/") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def request(
        self, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None, method: str | None = None
    ) -> tuple[int, Any]:
        """Status and body, parsed if it is JSON."""
        connection = http.client.HTTPConnection(*self.address, timeout=10)
        with closing(connection):
            connection.request(method or ("GET" if body is None else "POST"), path, body, dict(headers or {}))
            response = connection.getresponse()
            content = response.read()
        try:
            return response.status, json.loads(content)
        except ValueError:
            return response.status, content

    def start(self) -> None:
        with self.stdout_file.open("ab") as out, self.stderr_file.open("ab") as err:
            # No state or cache of a home directory, and none of our environment variables.
            given = {"PATH": os.environ["PATH"], "HOME": str(self.stdout_file.parent), "TZ": "UTC"}
            self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=out, stderr=err, env=given)
        until(self._listens, f"{self._command[0]} listens: {self.stderr_file.read_text()}")

    def stop(self) -> None:
        """Kills it: what it responded to is written, and Fluent Bit would take five seconds to stop."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.stderr_file.read_text()
        with socket.socket() as client:
            return client.connect_ex(self.address) == 0


class Tenzir(_Process):
    """A pipeline that starts with an input on PORT (replaced), and writes what it accepts as lines of JSON."""

    BINARY = str(FOLDER / "tenzir/bundled/bin/tenzir")

    def __init__(self, folder: Path, pipeline: str) -> None:
        port, name = free_port(), secrets.token_hex(4)
        file = folder / f"{name}.tql"
        file.write_text(f"{pipeline.replace('PORT', str(port))}\nwrite_ndjson\n")
        command = [self.BINARY, "--bare-mode", "--color=never", "-f", str(file)]
        super().__init__(command, folder, name, port)

    def events(self) -> Iterator[dict[str, Any]]:
        """All events that it has written so far."""
        text = self.stdout_file.read_text()
        yield from (json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines())


class Osmem(_Process):
    def __init__(self, folder: Path) -> None:
        port = free_port()
        binary = str(FOLDER / "osmem_server/bin/osmem-server")
        super().__init__([binary, "-addr", f"127.0.0.1:{port}", "-no-ja"], folder, "osmem", port)

    def ask(self, path: str, body: object = None, method: str | None = None) -> Any:
        """The response to a JSON request."""
        sent = None if body is None else json.dumps(body).encode()
        status, content = self.request(path, sent, {"Content-Type": "application/json"}, method)
        assert status < 300, (path, status, content)
        return content

    def documents(self, index: str) -> dict[str, dict[str, Any]]:
        """By id. Empty while there is no such index."""
        query = json.dumps({"size": 10_000, "query": {"match_all": {}}}).encode()
        status, content = self.request(f"/{index}/_search", query, {"Content-Type": "application/json"})
        assert status in (200, 404), content
        return {hit["_id"]: hit["_source"] for hit in content["hits"]["hits"]} if status == 200 else {}
