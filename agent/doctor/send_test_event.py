"""`forklore sinks test`: sends one marked event to each sink, and prints what its receiver answered and what to correct.

It sends as the agent does: with the same settings, schema, protocol, headers and files. It needs no root, and uses neither
journal nor kernel. Exit codes: 0 every sink took the event; 1 one did not; 2 wrong arguments; 78 wrong settings.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import aiohttp

from agent.lifecycle.build import build_destination, build_sink_format, requested_annotations
from agent.model import NO_CGROUP, Batch, Event
from agent.settings import Settings, SettingsError, SinkSettings, load
from agent.sinks.delivery.advice import RequestContext, advice_on_failure, advice_on_outcome
from agent.sinks.delivery.connections import Connection, Timeouts
from agent.sinks.delivery.credentials import FileError
from agent.sinks.delivery.failures import describe_failure
from agent.sinks.delivery.responses import Result
from agent.sinks.formats import SinkFormat
from agent.sinks.packer import BatchLimits, Packer
from agent.sinks.printable import printable
from agent.sinks.test_event import make_test_event

__all__ = ["NODE", "Outcome", "main", "send_event"]

OK, NOT_TAKEN, WRONG_ARGUMENTS, WRONG_SETTINGS = 0, 1, 2, 78
# The node of the marked event. A real node's name would disturb its ledger, and alerts on silent nodes.
NODE: Final = "forklore-sinks-test"
_TIMEOUTS: Final = Timeouts(connect=5.0, idle=10.0, response=15.0)  # seconds; somebody waits at a terminal
_MAX_TEXT: Final = 400  # characters of an answer


class Outcome(NamedTuple):
    """`text`: the answer, or why there is none. `advice`: what to correct, if the text does not say it."""

    taken: bool
    text: str
    advice: str = ""


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="forklore sinks", description="Tests the sinks of the settings.")
    commands = parser.add_subparsers(required=True, metavar="test")
    test = commands.add_parser("test", help="send one marked event to each sink, and print its answer")
    test.add_argument(
        "--config", type=Path, metavar="FILE", help="the agent's settings (YAML); FORKLORE_* variables override it"
    )
    test.add_argument("--sink", action="append", metavar="NAME", help="only this one; may be given more than once")
    options = parser.parse_args(arguments)
    try:
        settings = load(options.config)
    except SettingsError as error:
        for line in error.lines:
            sys.stderr.write(f"forklore sinks: settings: {line}\n")
        return WRONG_SETTINGS
    names = [sink.name for sink in settings.sinks]
    if unknown := [name for name in options.sink or () if name not in names]:
        known = ", ".join(names) or "none"
        sys.stderr.write(f"forklore sinks: there is no sink {unknown[0]}; the settings have: {known}\n")
        return WRONG_ARGUMENTS
    if not names:
        sys.stderr.write("forklore sinks: settings: sinks: there are none\n")
        return WRONG_SETTINGS
    chosen = [sink for sink in settings.sinks if not options.sink or sink.name in options.sink]
    return asyncio.run(_report(settings, chosen))


async def _report(settings: Settings, chosen: Sequence[SinkSettings]) -> int:
    annotations = requested_annotations(settings.sinks)
    forms = [build_sink_format(sink, settings.cluster, NODE, annotations) for sink in chosen]
    events = [make_test_event(sink.name, settings.cluster, NODE, time.time_ns()) for sink in chosen]
    outcomes = await asyncio.gather(*map(send_event, chosen, forms, events))
    for sink, form, event, outcome in zip(chosen, forms, events, outcomes, strict=True):
        sys.stdout.write(f"{sink.name}: {'taken' if outcome.taken else 'NOT taken'}: {outcome.text}\n")
        sys.stdout.write(f"    {sink.protocol}, {sink.schema_}, to {urlsplit(form.url).netloc}\n")
        if outcome.taken:
            sys.stdout.write(f"    look there for {NODE}, or for the event's id: {event['id']}\n")
        elif outcome.advice:
            sys.stdout.write(f"    {outcome.advice}\n")
    return OK if all(outcome.taken for outcome in outcomes) else NOT_TAKEN


async def send_event(sink: SinkSettings, form: SinkFormat, event: Event, timeouts: Timeouts = _TIMEOUTS) -> Outcome:
    packer = Packer(form.framing, sink.compression, BatchLimits(1, sink.batch.bytes))
    (batch,) = packer.pack(event["id"], [form.encoder.event(event)], [NO_CGROUP], 0.0)
    async with Connection(build_destination(sink, form), form.authorization, timeouts) as connection:
        outcome = await _post(sink, form, batch, connection)
        text = printable(connection.redact(outcome.text), _MAX_TEXT)
        return outcome._replace(text=text, advice=connection.redact(outcome.advice))


async def _post(sink: SinkSettings, form: SinkFormat, batch: Batch, connection: Connection) -> Outcome:
    try:
        reply = await connection.post(batch.body, form.request_headers(batch, 0))
    except (FileError, aiohttp.ClientError, OSError, ValueError) as error:
        failure = describe_failure(error, connection.receiver, connection.proxy)
        return Outcome(taken=False, text=failure.text, advice=advice_on_failure(failure))
    outcome = form.interpret(reply.status, reply.headers, reply.body, datetime.now(UTC), batch)
    taken = outcome.result is Result.ACCEPTED and not (outcome.rejected_items or outcome.retry_items or outcome.rejected_count)
    given = urlsplit(sink.url).path
    own_path = urlsplit(form.url).path if given in ("", "/") else None
    how = (sink.protocol, sink.schema_, sink.framing, sink.compression, sink.auth, sink.token_file)
    return Outcome(
        taken,
        outcome.text,
        advice_on_outcome(reply.status, outcome, reply.headers, RequestContext(*how, own_path, form.headers)),
    )
