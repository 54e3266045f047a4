"""Attacks of whoever has a token that sends: bodies that cost much, bodies that never come, and other nodes' records."""

from __future__ import annotations

import asyncio
import copy
import gzip
import json
import time
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import aiohttp
import orjson

import wire
from dev.attack.servers import Server
from wire.batch import CONTENT_TYPE, EVENTS_PATH

__all__ = [
    "EVIL",
    "HONEST",
    "SHARED",
    "TOKENS",
    "Sender",
    "counts_beyond",
    "forged",
    "gzip_members",
    "many_streams",
    "of_many_streams",
    "slow_bodies",
]

HONEST, EVIL, SHARED = "honest-token", "evil-token", "shared-token"
TOKENS: Final = f"{HONEST} node=node1\n{EVIL} node=node2\n{SHARED}\n"
BOOT: Final = "0ac846b9-54b9-46db-ad41-e0a5f64de594"
ANSWER_S: Final = 120.0
FORGED: Final = 5000
STREAMS: Final = 60_000
_EXAMPLES: Final = {one["event"]: one for one in json.loads((Path(wire.__file__).parent / "examples.json").read_text())}


class Sender:
    """One agent, or what poses as one."""

    def __init__(self, http: aiohttp.ClientSession, server: Server, token: str, node: str, stream: int) -> None:
        self._http, self._url = http, f"{server.url}{EVENTS_PATH}"
        self._token, self.node, self.stream = token, node, f"{BOOT}.{stream:016x}"
        self._next = 0

    async def post(self, body: bytes, encoding: str = "identity") -> tuple[int, dict[str, Any]]:
        headers = {"Content-Type": CONTENT_TYPE, "Content-Encoding": encoding, "Authorization": f"Bearer {self._token}"}
        timeout = aiohttp.ClientTimeout(total=ANSWER_S)
        async with self._http.post(self._url, data=body, headers=headers, timeout=timeout) as answer:
            return answer.status, await answer.json(content_type=None)

    async def ask(self) -> int:
        """A batch of one fork, as an agent of a quiet node sends it; the status."""
        self._next += 1
        return (await self.post(orjson.dumps(fork(self.stream, self.node, self._next))))[0]

    async def events(self, events: Iterable[dict[str, Any]]) -> tuple[int, dict[str, Any]]:
        return await self.post(b"\n".join(map(orjson.dumps, events)))


def fork(stream: str, node: str, sequence: int) -> dict[str, Any]:
    event = copy.deepcopy(_EXAMPLES["sched_process_fork"])
    event["k8s"]["node"] = node
    event.update(id=f"{stream}.0.{sequence}", timestamp=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}Z", child_pid=sequence + 1)
    return event


async def gzip_members(evil: Sender) -> str:
    """Bodies of 1, 2 and 4 MiB of empty gzip members."""
    empty, reported = gzip.compress(b"", mtime=0), []
    for mib in (1, 2, 4):
        begun = time.monotonic()
        status, _ = await evil.post(empty * ((mib << 20) // len(empty)), "gzip")
        reported.append(f"{mib} MiB: {status} in {time.monotonic() - begun:.2f} s")
    return "; ".join(reported)


async def many_streams(evil: Sender, body: bytes) -> str:
    """60,000 streams in one body."""
    status, answer = await evil.post(body, "gzip")
    return f"{status}: {answer.get('error') or answer}"


def of_many_streams() -> bytes:
    """The body of `many_streams`, made before it is measured."""
    gap, lines = copy.deepcopy(_EXAMPLES["gap"]), []
    gap["container"] = None
    gap["k8s"].update(labels=None, workload=None)  # so that all of them are less than 64 MiB
    for number in range(STREAMS):
        gap["id"] = f"{BOOT}.{number + 10**6:016x}.gap.-.ring_full.{gap['cgroup']['id']}.1"
        lines.append(orjson.dumps(gap))
    return gzip.compress(b"\n".join(lines), 1)


async def slow_bodies(server: Server, token: str, seconds: float = 8.0) -> str:
    """Eight POSTs that announce 10 MB and send a byte."""
    host, _, port = server.address.rpartition(":")
    head = f"POST {EVENTS_PATH} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\nContent-Length: 10000000\r\n\r\n{{"
    pairs = [await asyncio.open_connection(host, int(port), ssl=server.tls) for _ in range(8)]
    for _, writer in pairs:
        writer.write(head.encode())
    await asyncio.sleep(seconds)
    answered = 0
    for reader, writer in pairs:
        with suppress(TimeoutError, ConnectionError):
            answered += bool(await asyncio.wait_for(reader.readline(), 0.1))
        writer.transport.abort()
    return f"{answered} of 8 were ended within {seconds:.0f} s"


async def forged(honest: Sender, evil: Sender) -> str:
    """Forks 3 to 5,002 of another agent's stream, made up, and then that agent's own."""
    await honest.events(fork(honest.stream, honest.node, number) for number in (1, 2))
    numbers = range(3, 3 + FORGED)
    status, answer = await evil.events({**fork(honest.stream, evil.node, number), "comm": "forged"} for number in numbers)
    _, own = await honest.events(fork(honest.stream, honest.node, number) for number in numbers)
    conflicts = sum("conflict" in one["reason"] for one in own.get("rejected", ()))
    return (
        f"forged: {status}, {answer.get('accepted', 0)} taken; the agent's own: {own.get('accepted', 0)} stored, "
        f"{own.get('duplicate', 0)} taken for duplicates, {conflicts} reported as conflicts"
    )


async def counts_beyond(evil: Sender) -> str:
    """A summary of its own node with totals of 2^53-1 in the year 2261."""
    summary = copy.deepcopy(_EXAMPLES["fork_summary"])
    summary["k8s"]["node"] = evil.node
    summary.update(id=f"{evil.stream}.summary.4821.1", timestamp="2261-01-01T00:00:00.000000000Z")
    summary["interval"]["end"] = summary["timestamp"]
    summary["totals"] = dict.fromkeys(summary["totals"], 2**53 - 1)
    future, reported = await evil.events([summary])
    summary["timestamp"] = summary["interval"]["end"] = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}Z"
    present, beyond = await evil.events([summary])
    return f"in 2261: {_refusal(future, reported)}; now: {_refusal(present, beyond)}"


def _refusal(status: int, answer: dict[str, Any]) -> str:
    rejected = [one["reason"] for one in answer.get("rejected", ())]
    return f"{status}, {answer.get('accepted', 0)} taken: {answer.get('error') or ', '.join(rejected)}"
