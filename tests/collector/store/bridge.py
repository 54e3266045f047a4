"""A ClickHouse server for tests: the HTTP interface, as far as `clickhouse_connect` speaks it, before the embedded engine.

A process of its own: `python -m tests.collector.store.bridge FOLDER PORT`. It says its address in one line, and ends with its
standard input, so that it outlives no test.

As a server has it: every request on a connection of its own, with the user's profile, then the settings and the database of the
URL, told to the engine, which refuses what it does not know (115) or what a read-only user may not set (164); the question out
of `query`, the body, or both, or a form; `param_*` out of URL and form; inserts as a statement with Native data behind it; zstd
both ways; 403 and 516 for strangers; the engine's own errors as their text with the code in a header; no field of a URL or a
form longer than 128 KiB, no URL longer than 1 MiB.

Not bridged, because the engine in a process has no such thing: the Native format of a `client_protocol_version` (columns come
in the oldest one, as behind a proxy that drops the parameter), sessions (refused, for the collector must not ask for one),
grants (a user is allowed everything, or nothing but reading), progress headers, answers that begin before a query has ended
(and break off), TLS, `Distributed` and `Replicated` tables. Statuses other than 200, 403 and 404 are all 500 here.

Beside all that `POST /fault?statement=INSERT+INTO+fork&when=...` sets what happens at the next statement that begins so:
`before` and `after` it was done the process is killed; `unanswered`: it is done, and the connection closed.

`Server` is such a process, as a test uses it. Nothing of the collector is used here.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Final, NamedTuple

import chdb
import orjson
import zstandard
from aiohttp import web

ROOT: Final = Path(__file__).parents[3]
USER: Final = "collector"
PASSWORD: Final = "p%2F:w@rd/ 'ü"  # all that an address must quote, and what looks quoted and is not
READER: Final = "reader"
PROFILES: Final[Mapping[str, Mapping[str, str]]] = {USER: {}, READER: {"readonly": "1"}}
FIELD: Final = 128 << 10  # bytes, http_max_field_value_size
URL: Final = 1 << 20  # bytes, http_max_uri_size
# Parameters of a URL that are the interface's own, and no settings of the engine.
OWN: Final = {
    "buffer_size", "client_protocol_version", "close_session", "compress", "database", "decompress", "default_format",
    "password", "query", "query_id", "quota_key", "role", "session_check", "session_id", "session_timeout", "stacktrace",
    "user", "wait_end_of_query",
}  # fmt: skip
INSERT: Final = re.compile(rb"\s*(INSERT\s+INTO\s+.*?)\bFORMAT\s+(\w+)[ \t]*\r?\n", re.DOTALL | re.IGNORECASE)
CODE: Final = re.compile(r"Code: (\d+)")
NOT_FOUND: Final = (60, 81)  # table, database
ENGINE: Final = web.AppKey("engine", str)
FAULTS: Final = web.AppKey("faults", dict)


class Refused(Exception):
    """An error of ClickHouse's."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Asked(NamedTuple):
    user: str
    query: bytes  # with the data of an insert
    fields: Mapping[str, str]


class Answer(NamedTuple):
    body: bytes
    summary: Mapping[str, str]


def user_of(request: web.Request) -> str:
    """Raises `Refused` for whoever is a stranger."""
    name, password = request.headers.get("X-ClickHouse-User"), request.headers.get("X-ClickHouse-Key", "")
    kind, _, words = request.headers.get("Authorization", "").partition(" ")
    if kind == "Basic":
        try:
            name, _, password = base64.b64decode(words).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise Refused(516, "Code: 516. DB::Exception: Invalid authentication. (AUTHENTICATION_FAILED)") from None
    if name not in PROFILES or password != PASSWORD:
        why = "Authentication failed: password is incorrect, or there is no user with such name"
        raise Refused(516, f"Code: 516. DB::Exception: {name or 'default'}: {why}. (AUTHENTICATION_FAILED)")
    return name


async def asked_by(request: web.Request) -> Asked:
    user = user_of(request)
    fields = dict(request.query)
    body = b""
    if request.content_type == "multipart/form-data":
        async for part in await request.multipart():
            fields[part.name] = (await part.read()).decode()
    else:
        body = await request.read()
        if request.headers.get("Content-Encoding") == "zstd":
            body = zstandard.ZstdDecompressor().stream_reader(body, read_across_frames=True).read()
    if any(len(value.encode()) > FIELD + 1 for value in fields.values()):
        raise Refused(1000, "Poco::Exception. Code: 1000, e.code() = 0, HTML Form Exception: Field value too long")
    if "session_id" in fields:
        raise Refused(48, "Code: 48. DB::Exception: there are no sessions here. (NOT_IMPLEMENTED)")
    query = fields.get("query", "").encode()
    return Asked(user, query + b"\n" + body if query and body else query or body, fields)


def answer(folder: str, context: Asked) -> Answer:
    """Of the engine, in a thread. Raises `Refused`."""
    with closing(chdb.connect(folder)) as engine:
        try:
            for settings in (
                PROFILES[context.user],
                {key: value for key, value in context.fields.items() if key not in OWN and not key.startswith("param_")},
            ):
                if settings:
                    engine.query("SET " + ", ".join(f"{named(key)} = {quoted(value)}" for key, value in settings.items()))
            if database := context.fields.get("database"):
                engine.query(f"USE {named(database)}")
            values = {key.removeprefix("param_"): value for key, value in context.fields.items() if key.startswith("param_")}
            if (insert := INSERT.match(context.query)) and len(context.query) > insert.end():
                stream = engine.send_insert(insert[1].decode(), insert[2].decode())
                try:
                    stream.append(context.query[insert.end() :])
                    stored = stream.finish()
                finally:
                    stream.close()
                return Answer(b"", {"written_rows": str(stored.rows_written), "written_bytes": str(stored.bytes_written)})
            found: Any = engine.query(
                context.query.decode(), context.fields.get("default_format", "TabSeparated"), params=values
            )
            return Answer(found.bytes() or b"", {"read_rows": str(found.rows_read()), "read_bytes": str(found.bytes_read())})
        except (RuntimeError, chdb.ChdbError) as wrong:
            text = str(wrong)
            code = CODE.search(text)
            raise Refused(int(code[1]) if code else 0, text[code.start() if code else 0 :]) from wrong


def named(name: str) -> str:
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


async def serve(request: web.Request) -> web.StreamResponse:
    try:
        context = await asked_by(request)
        fault = await befallen(request, context)
        result = await asyncio.to_thread(answer, request.app[ENGINE], context)
    except Refused as wrong:
        status = 403 if wrong.code == 516 else 404 if wrong.code in NOT_FOUND else 500
        text = f"{wrong} (version {chdb.engine_version} (official build))\n"
        return web.Response(status=status, text=text, headers={"X-ClickHouse-Exception-Code": str(wrong.code)})
    if fault == "after":
        die()
    if fault == "unanswered" and request.transport is not None:
        request.transport.abort()
    headers = {
        "X-ClickHouse-Summary": orjson.dumps(result.summary).decode(),
        "X-ClickHouse-Server-Display-Name": "bridge",
        "X-ClickHouse-Timezone": "Etc/UTC",
        "X-ClickHouse-Query-Id": context.fields.get("query_id", ""),
    }
    body = result.body
    if context.fields.get("enable_http_compression") == "1" and "zstd" in request.headers.get("Accept-Encoding", ""):
        body, headers["Content-Encoding"] = zstandard.compress(body), "zstd"
    return web.Response(body=body, headers=headers)


async def befallen(request: web.Request, context: Asked) -> str | None:
    """What is to befall this statement afterwards."""
    words = b" ".join(context.query[:200].replace(b"`", b"").split()).decode(errors="replace")
    for statement, when in request.app[FAULTS].items():
        if words.startswith(statement):
            del request.app[FAULTS][statement]
            if when == "before":
                die()
            return str(when)
    return None


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


async def fault(request: web.Request) -> web.Response:
    request.app[FAULTS][request.query["statement"]] = request.query["when"]
    return web.Response(text="Ok.\n")


async def alive(_request: web.Request) -> web.Response:
    return web.Response(text="Ok.\n")


async def main(folder: str, port: int) -> None:
    with closing(chdb.connect(folder)):  # held, so that the engine lives on between two requests
        app = web.Application(client_max_size=1 << 30)
        app[ENGINE], app[FAULTS] = folder, {}
        app.add_routes([web.post("/", serve), web.post("/fault", fault), web.get("/ping", alive), web.get("/", alive)])
        runner = web.AppRunner(app, auto_decompress=False, max_line_size=URL, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        sys.stdout.write(f"http://127.0.0.1:{runner.addresses[0][1]}\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)
        await runner.cleanup()


class Server:
    """A bridge that can be killed, and comes back where and as it was."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._port = folder, 0
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.collector.store.bridge", self._folder, str(self._port)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.url = self._process.stdout.readline().strip()
        self._port = urllib.parse.urlsplit(self.url).port

    def restart(self) -> None:
        """After a fault that killed it."""
        self.stop()
        assert self._process.returncode == -9
        self.start()

    def stop(self) -> None:
        self._process.communicate(timeout=10)

    def dsn(self, database: str, user: str = USER, password: str = PASSWORD) -> str:
        words = ":".join(urllib.parse.quote(word, safe="") for word in (user, password) if word)
        return f"{self.url.replace('//', f'//{words}@')}/{database}"

    def fault(self, statement: str, when: str) -> None:
        self._post("/fault?" + urllib.parse.urlencode({"statement": statement, "when": when}), b"")

    def ask(self, database: str, question: str) -> list[str]:
        """What stands there, past the collector, as words."""
        return self._post(f"/?database={database}", question.encode()).split()

    def _post(self, path: str, body: bytes) -> str:
        headers = {"X-ClickHouse-User": USER, "X-ClickHouse-Key": PASSWORD.encode().decode("latin-1")}
        try:
            with urllib.request.urlopen(urllib.request.Request(self.url + path, body, headers), timeout=20) as answer:  # noqa: S310
                return answer.read().decode()
        except urllib.error.HTTPError as wrong:
            raise AssertionError(wrong.read().decode()) from None


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
