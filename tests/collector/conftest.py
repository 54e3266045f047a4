"""A real collector on loopback, and events as an agent would send them, made out of the golden examples."""

from __future__ import annotations

import asyncio
import atexit
import shutil
import tempfile
import time
import uuid
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import aiohttp
import orjson
import pytest
import pytest_asyncio

import wire
from collector.api import stream
from collector.ingest.lines import check_lines
from collector.query.read_context import ReadContext
from collector.server.app import running_collector
from collector.settings import Settings
from collector.store import Store, write_queue
from collector.store.engine import Engine
from collector.store.tables import EXPIRING
from collector.store.writer import Writer
from tests.collector.pages.browsing import shared_chromium
from wire.batch import CONTENT_TYPE, EVENTS_PATH

STREAM = "0ac846b9-54b9-46db-ad41-e0a5f64de594.9f3c51d2a7e04b68"
SECOND = 1_000_000_000


def stamp(ns):
    return f"{datetime.fromtimestamp(ns // SECOND, UTC):%Y-%m-%dT%H:%M:%S}.{ns % SECOND:09d}Z"


class EventFactory:
    """Events of an agent; what a test does not care about is as in the examples."""

    def __init__(self):
        examples = orjson.loads((Path(wire.__file__).parent / "examples.json").read_bytes())
        self._examples = {example["event"]: orjson.dumps(example) for example in examples}
        self.now = time.time_ns()
        self.stream = STREAM

    def example(self, kind):
        return orjson.loads(self._examples[kind])  # a copy, in a fraction of deepcopy's time

    def attribution(self, event, *, pod="cart-1", namespace="shop", uid=None, cgroup=4821, container="app", node="node1"):
        k8s = event["k8s"]
        k8s.update(node=node, namespace=namespace, pod=pod, pod_uid=uid or f"uid-of-{pod}")
        event["cgroup"]["id"] = cgroup
        event["container"].update(id=f"{cgroup:064x}", name=container)
        return event

    def host(self, event, node="node1"):
        nothing = dict.fromkeys(event["k8s"])
        event.update(container=None, enrichment={"state": "host", "by": None, "lag_ms": 0})
        event["k8s"] = nothing | {"cluster": "demo", "node": node}
        return event

    def unresolved(self, event):
        event["k8s"].update(namespace=None, pod=None, labels=None, workload=None, service_account=None, qos=None)
        event["container"].update(name=None, image=None, image_id=None, kind=None)
        event["enrichment"] = {"state": "unresolved", "by": "cgroup", "lag_ms": 5000}
        return event

    def fork(self, sequence, cpu=0, *, stream=None, at=None, comm="sh", kind="process", pid=None, **attribution_fields):
        event = self.attribution(self.example("sched_process_fork"), **attribution_fields)
        event.update(id=f"{stream or self.stream}.{cpu}.{sequence}", timestamp=stamp(at or self.now + sequence), kind=kind)
        event.update(comm=comm, parent_comm=comm, child_pid=pid or 7000 + sequence, child_ns_pid=100 + sequence)
        return event

    def summary(
        self,
        number,
        total,
        *,
        stream=None,
        end=None,
        seconds=10,
        now=None,
        threads=0,
        lost=0,
        suppressed=0,
        **attribution_fields,
    ):
        """`total` processes since the program instance began, `now` of them in this interval."""
        event = self.attribution(self.example("fork_summary"), **attribution_fields)
        end = self.now if end is None else end
        cgroup = event["cgroup"]["id"]
        rest = {"threads": threads, "filtered": threads, "lost": lost, "suppressed": suppressed, "entered": 0}
        event.update(
            id=f"{stream or self.stream}.summary.{cgroup}.{number}",
            timestamp=stamp(end),
            interval={"start": stamp(end - seconds * SECOND), "end": stamp(end)},
            counts={"processes": total if now is None else now, "emitted": 0, **rest},
            totals={"processes": total, "emitted": total - lost - suppressed, **rest},
        )
        return event

    def host_summary(self, number, total, node="node1"):
        event = self.host(self.summary(number, total), node)
        event.update(cgroup=None, id=f"{self.stream}.summary.host.{number}")
        return event

    def gap(self, by_now, count, reason="ring_full", *, sink=None, stream=None, end=None, seconds=10, **attribution_fields):
        """`count` forks more, `by_now` of them in all."""
        event = self.attribution(self.example("gap"), **attribution_fields)
        end = self.now if end is None else end
        own = f"{sink or '-'}.{reason}.{event['cgroup']['id']}.{by_now}"
        event.update(id=f"{stream or self.stream}.gap.{own}", count=count, reason=reason, sink=sink)
        event.update(timestamp=stamp(end), interval={"start": stamp(end - seconds * SECOND), "end": stamp(end)})
        return event

    def node_gap(self, by_now, count, reason="restart", *, node="node1", **rest):
        """Of a whole node; of which pods, is unknown."""
        event = self.gap(by_now, count, reason, **rest)
        event["id"] = event["id"].replace(f".{event['cgroup']['id']}.", ".0.")
        event["k8s"] = dict.fromkeys(event["k8s"]) | {"cluster": "demo", "node": node}
        event.update(cgroup=None, container=None, enrichment={"state": "unresolved", "by": None, "lag_ms": 0})
        return event

    def storm(
        self, number, phase, *, start, end, processes, limit=2000, reason=None, stream=None, cgroup=4790, **attribution_fields
    ):
        """`processes` since `start`, all of them only counted. `reason` None: as 0.1 sends it, without one."""
        event = self.attribution(self.example("gap"), cgroup=cgroup, **attribution_fields)
        counts = {"processes": processes, "threads": 0, "emitted": 0, "filtered": 0, "lost": 0, "entered": 0}
        return {
            **{key: event[key] for key in ("cgroup", "k8s", "enrichment")},
            **({"reason": reason} if reason else {}),
            "event": "fork_storm",
            "id": f"{stream or self.stream}.storm.{cgroup}.{number}.{phase}",
            "timestamp": stamp(end),
            "phase": phase,
            "storm": number,
            "limit": limit,
            "hold_s": 5,
            "interval": {"start": stamp(start), "end": stamp(end)},
            "counts": counts | {"suppressed": processes},
            "totals": counts | {"suppressed": processes},
            "container": None,
        }

    def node(
        self, number, *, heads, end=None, captured=None, delivered=0, node="node1", stream=None, ring=0, queued=None, lost=None,
        sinks=None, filtered=0,
    ):  # fmt: skip
        """`delivered`, `queued` (else the rest), `lost` by reason, `filtered`: of the sink "collector", or else `sinks`."""
        event = self.example("node_summary")
        end = self.now if end is None else end
        sent = sum(heads.values())
        event["k8s"]["node"] = node
        event.update(
            id=f"{stream or self.stream}.node.{number}",
            timestamp=stamp(end),
            interval={"start": stamp(end - 10 * SECOND), "end": stamp(end)},
            heads={str(cpu): head for cpu, head in heads.items()},
        )
        event["totals"] = dict.fromkeys(event["totals"], 0) | {"processes": sent, "emitted": sent - ring, "lost": ring}
        if queued is None:
            queued = sent - ring - delivered - sum((lost or {}).values()) - filtered
        sink = self.sink(delivered, queued, lost, filtered)
        event["ledger"].update(
            captured=sent if captured is None else captured,
            suppressed=0,
            lost={"ring": ring, "recursion": 0},
            sinks={"collector": sink} if sinks is None else sinks,
        )
        return event

    def sink(self, delivered=0, queued=0, lost=None, filtered=0):
        """A sink's line in the ledger."""
        queues = {"ring": 0, "waiting": 0, "journal": queued}
        return {
            "delivered": delivered,
            "queued": queues,
            "lost": lost or {},
            "filtered": {"select": filtered} if filtered else {},
        }


def pytest_collection_modifyitems(items):
    """One event loop for all tests here, since the browser that they share lives in it."""
    for item in items:
        if Path(__file__).parent in item.path.parents and pytest_asyncio.is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest.fixture
def make():
    return EventFactory()


class CollectorClient:
    """A client of one running collector."""

    def __init__(self, url, session):
        self.url, self.session = url, session

    async def post(self, *events, status=200, **headers):
        """Events (or raw lines) in one batch -> the answer's JSON."""
        lines = [event if isinstance(event, bytes) else orjson.dumps(event) for event in events]
        return await self.raw(b"\n".join(lines), status=status, **headers)

    async def raw(self, body, *, status=200, **headers):
        headers = {"Content-Type": CONTENT_TYPE} | {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.post(self.url + EVENTS_PATH, data=body, headers=headers) as answer:
            text = await answer.text()
            assert answer.status == status, text
            return orjson.loads(text)

    async def get(self, path, status=200, **headers):
        async with self.session.get(self.url + path, headers=headers, allow_redirects=False) as answer:
            text = await answer.text()
            assert answer.status == status, text
            return orjson.loads(text) if answer.content_type == "application/json" else text

    async def metrics_say(self, line, *, soon=10.0):
        """Waits, at most `soon` seconds, until a line of /metrics begins so."""
        for _ in range(int(soon / 0.05)):
            if any(one.startswith(line) for one in (await self.get("/metrics")).splitlines()):
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"/metrics does not say {line}")

    async def pods(self):
        """Pods by name."""
        return {pod["pod"]: pod for pod in (await self.get("/v1/pods"))["pods"]}


class SharedStore:
    """A store that is emptied for each test. The engine, whose start takes longest, keeps running between them; a process
    can have one engine, so that it is closed for a store elsewhere."""

    def __init__(self):
        self._engine = None

    @property
    @cache  # noqa: B019 - there is one of it
    def folder(self):
        folder = Path(tempfile.mkdtemp(prefix="forklore-store-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        Store.open(f"chdb://{folder}").close()
        return folder

    def opened(self):
        """Its engine, with what earlier tests stored."""
        if self._engine is None:
            self._engine = Engine.open(f"chdb://{self.folder}")
        return self._engine

    def emptied(self):
        """Its open engine."""
        engine = self.opened()
        for table in EXPIRING:
            engine.writer.command(f"TRUNCATE TABLE {table}")
        return engine

    def close_engine(self):
        if self._engine is not None:
            self._engine.close()
            self._engine = None


SHARED = SharedStore()


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch):
    """Tests post batch after batch; the number of their commits does not matter."""
    monkeypatch.setattr(write_queue, "PAUSE", 0)


@pytest.fixture(scope="module", autouse=True)
def _close_engine():
    """For those of another folder, who come next in this process."""
    yield
    SHARED.close_engine()


def empty_store(folder):
    """The DSN of a new store in a folder that is not there yet, for a test that must have one of its own."""
    SHARED.emptied()
    SHARED.close_engine()
    shutil.copytree(SHARED.folder, folder, symlinks=True)
    return f"chdb://{folder}"


def lines_of(*events):
    """Events as a batch that is checked."""
    return check_lines(b"\n".join(orjson.dumps(event) for event in events), 10**6, 10**6)


@contextmanager
def opened_store(writers=1):
    """The writing side, as often as there are collectors, and a read of a store with nothing in it yet."""
    engine = SHARED.emptied()
    yield *(Writer(engine.writer) for _ in range(writers)), ReadContext(engine.reader, 0, 2**63 - 1)


@pytest.fixture
def two_writers(make):
    """The writing side of two collectors, for a test of one stream, its own: the store is not emptied, which takes longest."""
    make.stream = f"{uuid.uuid4()}.{uuid.uuid4().hex[:16]}"
    engine = SHARED.opened()
    return Writer(engine.writer), Writer(engine.writer)


@asynccontextmanager
async def collector(**settings):
    """`store`: one of its own, instead of the shared one."""
    if "store" in settings:
        SHARED.close_engine()
    else:
        SHARED.emptied()
        settings["store"] = f"chdb://{SHARED.folder}"
    async with (
        running_collector(Settings(**{"listen": "127.0.0.1:0"} | settings)) as url,
        aiohttp.ClientSession() as session,
    ):
        yield CollectorClient(url, session)


@pytest.fixture
def running():
    """`async with running(token_file=...) as client:` a collector with settings of the test's own."""
    return collector


@pytest_asyncio.fixture(loop_scope="session")
async def client():
    """A collector with nothing in its store."""
    async with collector() as opened:
        yield opened


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium():
    async with shared_chromium() as shared:
        yield shared


@pytest.fixture
def browser(chromium, monkeypatch):
    """`async with browser(width, height) as page:` a page on which nothing may complain, of the one browser of all tests. The
    collector looks every 50 ms whether there is anything new, so that tests do not wait for it."""
    monkeypatch.setattr(stream, "POLL_INTERVAL", 0.05)
    return chromium.page
