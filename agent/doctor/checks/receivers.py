"""Checks each sink's receiver: its name, connection, certificate and token. It sends a batch without events, so that nothing is
added there; `forklore sinks test` sends an event."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlsplit

import aiohttp

from agent.doctor.check_result import CheckResult, fail, ok, warn
from agent.lifecycle.build import build_destination, build_sink_format
from agent.model import Batch
from agent.settings import Settings, SinkSettings
from agent.sinks.delivery.advice import RequestContext, advice_on_failure, advice_on_outcome
from agent.sinks.delivery.connections import Connection, Timeouts
from agent.sinks.delivery.credentials import FileError
from agent.sinks.delivery.failures import describe_failure
from agent.sinks.delivery.responses import Result
from agent.sinks.formats import SinkFormat
from agent.sinks.packer import COMPRESSIONS

__all__ = ["SinkTrial", "judge_receivers", "try_receivers"]

_TIMEOUTS: Final = Timeouts(connect=5.0, idle=10.0, response=10.0)  # seconds; somebody waits at a terminal
_NEXT: Final = "`forklore sinks test` sends it an event"
_CURES: Final = {
    "tls": "correct what it names: ca_file, cert_file, key_file, or the name in url",
    "files": "correct that file, or the setting that names it",
    "proxy": "see the sink's proxy",
    "no_http": "see the sink's url: https:// or http://, and the port",
    "settings": "see the sink's url, headers and token_file",
}
_SEE_LOG: Final = "see the receiver's own log"


@dataclass(frozen=True)
class SinkTrial:
    """What trying a sink's receiver gave. `result`: what its answer would mean for a batch; None: there was no answer. `cure`:
    what to correct, as far as that is known."""

    name: str
    text: str
    result: Result | None
    cure: str = ""


async def try_receivers(settings: Settings, timeouts: Timeouts = _TIMEOUTS) -> list[SinkTrial]:
    return await asyncio.gather(*(_try(sink, settings.cluster, settings.node, timeouts) for sink in settings.sinks))


async def _try(sink: SinkSettings, cluster: str, node: str, timeouts: Timeouts) -> SinkTrial:
    form = build_sink_format(sink, cluster, node, sink.annotations)
    compress, _ = COMPRESSIONS[sink.compression]
    batch = Batch("forklore-doctor", "", compress(form.framing.body([])), array("Q"), 0.0, 0)
    async with Connection(build_destination(sink, form), form.authorization, timeouts) as connection:
        trial = await _post(sink, form, batch, connection)
        return SinkTrial(trial.name, connection.redact(trial.text), trial.result, connection.redact(trial.cure))


async def _post(sink: SinkSettings, form: SinkFormat, batch: Batch, connection: Connection) -> SinkTrial:
    try:
        reply = await connection.post(batch.body, form.request_headers(batch, 0))
    except (FileError, aiohttp.ClientError, OSError, ValueError) as error:
        failure = describe_failure(error, connection.receiver, connection.proxy)
        return SinkTrial(sink.name, failure.text, None, advice_on_failure(failure) or _CURES.get(failure.kind, _SEE_LOG))
    outcome = form.interpret(reply.status, reply.headers, reply.body, datetime.now(UTC), batch)
    own_path = urlsplit(form.url).path if urlsplit(sink.url).path in ("", "/") else None
    how = (sink.protocol, sink.schema_, sink.framing, sink.compression, sink.auth, sink.token_file)
    cure = advice_on_outcome(reply.status, outcome, reply.headers, RequestContext(*how, own_path, form.headers))
    return SinkTrial(sink.name, f"{connection.receiver} answers {outcome.text}", outcome.result, cure or "follow its message")


def judge_receivers(trials: Sequence[SinkTrial]) -> list[CheckResult]:
    if not trials:
        return [warn("sinks", "none is set: forks are counted, but sent nowhere", "add one to `sinks`")]
    return [_judge(trial) for trial in trials]


def _judge(trial: SinkTrial) -> CheckResult:
    name = f"sink {trial.name}"
    if trial.result in (None, Result.HOLD):
        return fail(name, trial.text, trial.cure)
    if trial.result is Result.RETRY:
        return warn(name, trial.text, trial.cure)
    # A receiver that refuses a batch because it is empty has read it, and would read a full one.
    return ok(name, f"{trial.text}; {_NEXT}")
