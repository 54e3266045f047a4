"""Each sink's receiver: found, connected, trusted, and our token taken. By a batch without events, so nothing is added there.

Must not live here: sending an event, which `forklore sinks test` does.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlsplit

import aiohttp

from agent.doctor.check_result import Finding, fail, ok, warn
from agent.lifecycle.build import build_destination, build_sink_format
from agent.model import Batch
from agent.settings import Settings, SinkSettings
from agent.sinks.delivery.advice import RequestContext, advice_on_failure, advice_on_outcome
from agent.sinks.delivery.connections import Connection, Timeouts
from agent.sinks.delivery.credentials import FileError
from agent.sinks.delivery.failures import describe_failure
from agent.sinks.delivery.responses import Result
from agent.sinks.formats import SinkFormat
from agent.sinks.packer import ENCODINGS

__all__ = ["Heard", "judge_receivers", "try_receivers"]

_TIMEOUTS: Final = Timeouts(connect=5.0, idle=10.0, response=10.0)  # somebody is waiting at a terminal
_NEXT: Final = "`forklore sinks test` sends it an event"
_CURES: Final = {
    "tls": "mend what it says: ca_file, cert_file, key_file, or the name in url",
    "files": "mend that file, or the setting that names it",
    "proxy": "see the sink's proxy",
    "no_http": "see the sink's url: https:// or http://, and the port",
    "settings": "see the sink's url, headers and token_file",
}
_LOOK: Final = "see the receiver's own log"


@dataclass(frozen=True)
class Heard:
    """What a sink's receiver came to. `fate`: what its answer would mean for a batch; None: there was no answer. `cure`: what
    to mend, as far as that can be told."""

    name: str
    text: str
    result: Result | None
    cure: str = ""


async def try_receivers(settings: Settings, timeouts: Timeouts = _TIMEOUTS) -> list[Heard]:
    return await asyncio.gather(*(_try(sink, settings.cluster, settings.node, timeouts) for sink in settings.sinks))


async def _try(sink: SinkSettings, cluster: str, node: str, timeouts: Timeouts) -> Heard:
    form = build_sink_format(sink, cluster, node, sink.annotations)
    compress, _ = ENCODINGS[sink.compression]
    batch = Batch("forklore-doctor", "", compress(form.framing.body([])), array("Q"), 0.0, 0)
    async with Connection(build_destination(sink, form), form.authorization, timeouts) as connection:
        heard = await _heard(sink, form, batch, connection)
        return Heard(heard.name, connection.redact(heard.text), heard.result, connection.redact(heard.cure))


async def _heard(sink: SinkSettings, form: SinkFormat, batch: Batch, connection: Connection) -> Heard:
    try:
        reply = await connection.post(batch.body, form.request_headers(batch))
    except (FileError, aiohttp.ClientError, OSError, ValueError) as error:
        trouble = describe_failure(error, connection.receiver, connection.proxy)
        return Heard(sink.name, trouble.text, None, advice_on_failure(trouble) or _CURES.get(trouble.kind, _LOOK))
    outcome = form.interpret(reply.status, reply.headers, reply.body, datetime.now(UTC), batch)
    own_path = urlsplit(form.url).path if urlsplit(sink.url).path in ("", "/") else None
    how = (sink.protocol, sink.schema_, sink.framing, sink.compression, sink.auth, sink.token_file)
    cure = advice_on_outcome(reply.status, outcome, reply.headers, RequestContext(*how, own_path, form.headers))
    return Heard(sink.name, f"{connection.receiver} answers {outcome.text}", outcome.result, cure or "do what it says")


def judge_receivers(heard: Sequence[Heard]) -> list[Finding]:
    if not heard:
        return [warn("sinks", "none is set: forks are counted and go nowhere", "name one in `sinks`")]
    return [_judge(one) for one in heard]


def _judge(heard: Heard) -> Finding:
    name = f"sink {heard.name}"
    if heard.result in (None, Result.HOLD):
        return fail(name, heard.text, heard.cure)
    if heard.result is Result.RETRY:
        return warn(name, heard.text, heard.cure)
    # That an empty batch was not to its taste says that it looked at it, and would look at a full one.
    return ok(name, f"{heard.text}; {_NEXT}")
