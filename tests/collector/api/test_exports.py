"""Exports: complete, in order, marked where they are cut, safe for a spreadsheet, and of bounded memory at any length."""

import asyncio
import csv
import io
import json
import re

import aiohttp
import pytest

from collector.api import forks as forks_api
from collector.api.exports import FORMATS
from collector.model import FoundFork, Place
from collector.query import StoreReader
from collector.store import StoreUnavailable


@pytest.fixture
def small_steps(monkeypatch):
    """A step of an export is three forks, so that a few forks are several steps."""
    monkeypatch.setattr(forks_api, "MAX_FORKS", 3)


async def filled(client, make, count):
    forks = [make.fork(n, at=make.now - 10**9 + n) for n in range(count)]
    await client.post(*forks)
    return forks


@pytest.mark.usefixtures("small_steps")
@pytest.mark.parametrize("count", [0, 1, 3, 4, 6, 10])
async def test_ndjson_is_every_event_on_a_line_and_nothing_else(running, make, count):
    async with running() as client:
        forks = await filled(client, make, count)
        async with client.session.get(f"{client.url}/v1/forks?format=ndjson") as answer:
            assert answer.content_type == "application/x-ndjson"
            assert answer.headers["Content-Disposition"] == 'attachment; filename="forks.ndjson"'
            assert answer.headers["Forklore-Limit"] == "1000000"
            text = await answer.text()
        assert [json.loads(line) for line in text.splitlines()] == forks[::-1]


@pytest.mark.usefixtures("small_steps")
@pytest.mark.parametrize("limit", [1, 3, 4, 9])
async def test_a_cut_file_says_so_and_the_rest_can_be_fetched(running, make, limit):
    async with running() as client:
        forks = await filled(client, make, 10)
        lines = (await client.get(f"/v1/forks?format=ndjson&limit={limit}")).splitlines()
        *events, cut = map(json.loads, lines)
        assert events == forks[::-1][:limit] and (cut["event"], cut["forks"]) == ("cut", limit)
        rest = (await client.get(f"/v1/forks?format=ndjson&after={cut['next']}")).splitlines()
        assert [json.loads(line) for line in rest] == forks[::-1][limit:]
        rows = list(csv.reader(io.StringIO(await client.get(f"/v1/forks?format=csv&limit={limit}"))))
        assert len(rows) == limit + 2 and len({len(row) for row in rows}) == 1
        assert rows[-1][0] == f"cut after {limit} forks; the rest: after={cut['next']}"


@pytest.mark.usefixtures("small_steps")
@pytest.mark.parametrize("form", ["ndjson", "csv"])
async def test_an_export_that_ends_at_its_limit_by_chance_is_not_called_cut(running, make, form):
    async with running(export_forks=6) as client:
        await filled(client, make, 6)
        text = await client.get(f"/v1/forks?format={form}")
        assert "cut" not in text and len(text.splitlines()) == 6 + (form == "csv")


async def test_csv_has_named_columns_and_unchanged_numbers(running, make):
    async with running() as client:
        await client.post(make.fork(5, comm="sh"))
        async with client.session.get(f"{client.url}/v1/forks?format=csv") as answer:
            assert answer.content_type == "text/csv"
            (row,) = csv.DictReader(io.StringIO(await answer.text()))
        assert (row["namespace"], row["pod"], row["container"], row["workload"]) == ("shop", "cart-1", "app", "cart")
        assert (row["comm"], row["child_pid"], row["child_ns_pid"], row["parent_pid"]) == ("sh", "7005", "105", "6039")


HOSTILE = [
    '=cmd|"/c calc"!A1', "+1+1", "-2+3", "@SUM(1)", "\t=1", "\r=1", "\n=1", " =1", "\xa0=1", "\uff1d1", "\ufeff=1", "\x01=1",
    'a"b', "a,b", "a\r\nb", "'", '""', "ü\u202e", "-bash",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
async def test_no_name_becomes_a_formula_or_breaks_a_line(running, make, name):
    async with running() as client:
        sent = make.fork(1, comm=name, pod=name, namespace=name, container=name)
        sent["k8s"]["workload"] = {"kind": name, "name": name}
        await client.post(sent)
        (row,) = csv.DictReader(io.StringIO(await client.get("/v1/forks?format=csv"), newline=""))
        for column in ("comm", "parent_comm", "pod", "namespace", "container", "workload", "workload_kind"):
            assert row[column].replace("'", "") == name.replace("'", "")
            assert row[column].lstrip("\ufeff\x01 \xa0\t\r\n")[:1] not in tuple("=+-@\uff1d")
            assert row[column][:1] not in ("\t", "\r", "\n")
        assert row["child_pid"] == "7001"


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize(
    "name", ["a;=1", "a;\t@SUM(1)", 'a;"=1', 'a";"=1+1', "a\t=1", "a|-1", "a,+1", "a;;=1", "a\r\n=1", ";=1", "=1;=2"]
)
def test_no_cell_is_a_formula_whatever_the_spreadsheet_separates_by(delimiter, name):
    page = FORMATS["csv"].page([FoundFork(Place(0, "", 0, 0), {"comm": name, "k8s": None})]).decode()
    parsed = [cell for row in csv.reader(io.StringIO(page, newline=""), delimiter=delimiter) for cell in row]
    for cell in [*parsed, *re.split(f"[{delimiter}\r\n]", page)]:
        assert cell.lstrip(' \t"')[:1] not in tuple("=+-@") or not cell, (cell, page)


def test_every_cell_of_a_csv_of_nothing_but_unknowns_is_empty():
    nothing = FoundFork(Place(0, "", 0, 0), {"k8s": {"workload": None}, "container": None})
    assert set(FORMATS["csv"].page([nothing]).strip()) == {ord(",")}


@pytest.mark.usefixtures("small_steps")
async def test_no_more_exports_run_at_once_than_the_setting_allows(running, make, monkeypatch):
    held, real = asyncio.Event(), StoreReader.search

    async def slow(self, *rest):
        await held.wait()
        return await real(self, *rest)

    async with running(exports=2) as client:
        await filled(client, make, 4)
        monkeypatch.setattr(StoreReader, "search", slow)
        two = [asyncio.create_task(client.get("/v1/forks?format=csv")) for _ in range(2)]
        await client.metrics_say("forklore_collector_exports_open 2.0")
        async with client.session.get(f"{client.url}/v1/forks?format=csv") as third:
            assert third.status == 503 and third.headers["Retry-After"] == "10"
            assert "too many exports" in (await third.json())["error"]
        held.set()
        assert [len(text.splitlines()) for text in await asyncio.gather(*two)] == [5, 5]
        await client.get("/v1/forks?format=csv")
        metrics = await client.get("/metrics")
        assert "forklore_collector_exports_open 0.0" in metrics
        assert 'forklore_collector_exported_forks_total{format="csv"} 12.0' in metrics


@pytest.mark.usefixtures("small_steps")
async def test_an_export_that_the_store_interrupts_is_recognizably_incomplete(running, make, monkeypatch):
    real, calls = StoreReader.search, []

    async def breaks(self, *rest):
        calls.append(rest)
        if len(calls) > 2:
            raise StoreUnavailable("gone")
        return await real(self, *rest)

    async with running() as client:
        await filled(client, make, 10)
        monkeypatch.setattr(StoreReader, "search", breaks)
        async with client.session.get(f"{client.url}/v1/forks?format=ndjson") as answer:
            assert answer.status == 200
            with pytest.raises(aiohttp.ClientError):
                await answer.text()
        async with client.session.get(f"{client.url}/v1/forks?format=ndjson") as answer:
            assert answer.status == 503  # not a word was said yet
        monkeypatch.undo()
        assert "forklore_collector_exports_open 0.0" in await client.get("/metrics")


async def test_a_reader_that_takes_nothing_is_dropped_and_costs_no_more_than_a_step(running, make, monkeypatch):
    """The store has forks without end, and the reader reads nothing. The export must stop reading, and release its place."""
    monkeypatch.setattr(forks_api, "WRITE_TIMEOUT", 0.5)
    asked, body = [], make.fork(1)

    async def endless(_self, _fork_query, limit, after=None):
        asked.append(limit)
        at = after.time - 1 if after else 10**18
        return [FoundFork(Place(at - n, make.stream, 0, n), body) for n in range(limit)]

    async with running() as client:
        monkeypatch.setattr(StoreReader, "search", endless)
        _, writer = await asyncio.open_connection(*client.url.removeprefix("http://").split(":"), limit=1024)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(b"GET /v1/forks?format=ndjson HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        await client.metrics_say("forklore_collector_exports_open 1.0")
        await client.metrics_say("forklore_collector_exports_open 0.0")
        assert 1 <= len(asked) < 20
        writer.transport.abort()
