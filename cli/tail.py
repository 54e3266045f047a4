"""`forklore tail`: prints forks as they arrive, one per line, until Ctrl-C."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import aclosing, suppress
from typing import Final

from cli.client.client import Collector
from cli.client.errors import OK
from cli.client.following import Connected, Disconnected, Forks, Item, Lost, SeenIds, follow
from cli.client.json_view import JsonView
from cli.exit import run_command
from cli.options import add_fork_filters, filter_query, join_values, new_parser, parse_time, read_access
from cli.text.fork_line import fork_line
from cli.text.formatting import json_line
from cli.text.output import Output
from cli.text.pieces import Piece
from cli.text.progress import Progress
from wire.numbers import number

__all__ = ["main"]

HISTORY: Final = 10_000  # forks printed first at most: 20 MB while their order is reversed
PAGE: Final = 1000  # forks per request, the collector's maximum
_EPILOG: Final = """A line: time (UTC), node, pod, container; the parent's name, its pid on the host and, after the slash,
in the pod; -> the child's. Names with spaces are quoted; invisible characters are escaped. When the collector
does not answer, forklore tail waits for it and continues where it was. Forks that this reader was too slow for
are reported on a line of their own, in JSON as {"event": "lost", "forks": ..., "more": ...}."""


def main(arguments: Sequence[str]) -> int:
    parser = new_parser("tail", "Prints forks as they arrive.", _EPILOG)
    add_fork_filters(parser)
    parser.add_argument("-o", "--output", choices=("compact", "json"), default="compact", help="default: compact")
    parser.add_argument(
        "--since",
        type=parse_time,
        metavar="TIME",
        help=f"print forks since then first, the newest {HISTORY}; such as -15m",
    )
    options = parser.parse_args(join_values(arguments, "--since"))
    return run_command("tail", lambda: _Tail(options).run())


class _Tail:
    def __init__(self, options: argparse.Namespace) -> None:
        self._access = read_access(options)
        self._query = filter_query(options)
        self._since: str | None = options.since
        self._as_json = options.output == "json"
        self._seen = SeenIds()
        self._output = Output()

    async def run(self) -> int:
        async with (
            Collector(self._access) as collector,
            aclosing(follow(collector, self._query, self._seen)) as items,
        ):
            async with Progress(f"waiting for {collector.display_url}"):
                await anext(items)  # connected before history is requested, so that no fork falls between the two
            if self._since:
                await self._print_history(collector, self._since)
            async for item in items:
                self._print_item(item, collector.display_url)
        return OK

    def _print_item(self, item: Item, display_url: str) -> None:
        match item:
            case Forks(forks):
                self._output.write_lines(self._line(fork) for fork in forks)
            case Lost(count, more):
                self._print_lost(count, more=more)
            case Disconnected(reason, wait):
                _print_note(f"{reason}; trying again in {wait:.0f} s")
            case Connected(after, resumed):
                _print_note(f"{display_url} is connected again after {after or 0:.0f} s")
                if not resumed:
                    self._print_lost(None, more=True)

    async def _print_history(self, collector: Collector, since: str) -> None:
        """Requested from the newest on, printed from the oldest on."""
        lines: list[str] = []
        after: str | None = None
        async with Progress(f"asking {collector.display_url} for forks since {since}") as progress:
            while len(lines) < HISTORY:
                query = [*self._query, ("from", since), ("limit", str(PAGE)), *([("after", after)] if after else [])]
                page = await collector.get(("v1", "forks"), query)
                lines += [self._line(fork) for fork in self._seen.unseen(page["forks"])]
                progress.detail = f"{number(len(lines))} forks"
                after = page["next"].text
                if not after:
                    break
        if after:
            _print_note(f"only the newest {number(len(lines))} forks since {since} are shown")
        self._output.write_lines(reversed(lines))

    def _print_lost(self, count: int | None, *, more: bool) -> None:
        """In the output itself, at the place of the forks."""
        if self._as_json:
            self._output.write_lines([json_line({"event": "lost", "forks": count, "more": more})])
            return
        amount = "an unknown number of" if count is None else f"over {number(count)}" if more else number(count)
        reason = "the collector did not answer" if count is None else "this reader was too slow"
        self._output.write_lines([self._output.paint([Piece(f"--- {amount} forks are not shown: {reason} ---", "bad")])])

    def _line(self, fork: JsonView) -> str:
        return json_line(fork.raw) if self._as_json else self._output.paint(fork_line(fork))


def _print_note(text: str) -> None:
    with suppress(OSError, AttributeError):
        sys.stderr.write(f"forklore tail: {text}\n")
        sys.stderr.flush()
