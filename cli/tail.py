"""`forklore tail`: forks as they come, one a line, until Ctrl-C.

Must not live here: the stream's breaks (`following`), what a line says (`forks`).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import aclosing, suppress
from typing import Final

from cli.client.client import Collector
from cli.client.errors import OK
from cli.client.following import Away, Back, Forks, Item, Known, Lost, follow
from cli.client.json_view import Said
from cli.exit import ended
from cli.options import access_of, asked, fork_filters, joined, new_parser, time_text
from cli.text.fork_line import compact
from cli.text.output import Output
from cli.text.pieces import Piece
from cli.text.progress import Progress
from cli.text.words import json_line
from wire.numbers import number

__all__ = ["main"]

HISTORY: Final = 10_000  # forks at most that are shown first: 20 MB while they are turned round
PAGE: Final = 1000  # forks asked for at once; the collector gives no more
_EPILOG: Final = """A line: time (UTC), node, pod, container; what the parent is called, its pid on the host and, behind the
stroke, in the pod; -> the child's. Names with spaces are in quotes; what does not show itself is escaped.
When the collector is away, forklore tail waits for it and goes on where it was. Forks that a reader was too
slow for are told as a line of their own, in JSON as {"event": "lost", "forks": ..., "more": ...}."""


def main(arguments: Sequence[str]) -> int:
    parser = new_parser("tail", "Shows forks as they come.", _EPILOG)
    fork_filters(parser)
    parser.add_argument("-o", "--output", choices=("compact", "json"), default="compact", help="default: compact")
    parser.add_argument(
        "--since", type=time_text, metavar="TIME", help=f"first those since then, the newest {HISTORY} of them, such as -15m"
    )
    options = parser.parse_args(joined(arguments, "--since"))
    return ended("tail", lambda: _Tail(options).run())


class _Tail:
    def __init__(self, options: argparse.Namespace) -> None:
        self._access = access_of(options)
        self._query = asked(options)
        self._since: str | None = options.since
        self._as_json = options.output == "json"
        self._known = Known()
        self._output = Output()

    async def run(self) -> int:
        async with (
            Collector(self._access) as collector,
            aclosing(follow(collector, self._query, self._known)) as items,
        ):
            async with Progress(f"waiting for {collector.shown}"):
                await anext(items)  # the stream is there before history is asked for, so that nothing falls between the two
            if self._since:
                await self._history(collector, self._since)
            async for item in items:
                self._tell(item, collector.shown)
        return OK

    def _tell(self, item: Item, shown: str) -> None:
        match item:
            case Forks(forks):
                self._output.say(self._line(fork) for fork in forks)
            case Lost(count, more):
                self._lost(count, more=more)
            case Away(why, wait):
                _note(f"{why}; trying again in {wait:.0f} s")
            case Back(after, resumed):
                _note(f"{shown} is there again after {after or 0:.0f} s")
                if not resumed:
                    self._lost(None, more=True)

    async def _history(self, collector: Collector, since: str) -> None:
        """Asked for from the newest on, told from the oldest on."""
        lines: list[str] = []
        after: str | None = None
        async with Progress(f"asking {collector.shown} for forks since {since}") as progress:
            while len(lines) < HISTORY:
                query = [*self._query, ("from", since), ("limit", str(PAGE)), *([("after", after)] if after else [])]
                page = await collector.get(("v1", "forks"), query)
                lines += [self._line(fork) for fork in self._known.news(page["forks"])]
                progress.detail = f"{number(len(lines))} forks"
                after = page["next"].text
                if not after:
                    break
        if after:
            _note(f"only the newest {number(len(lines))} since {since}")
        self._output.say(reversed(lines))

    def _lost(self, count: int | None, *, more: bool) -> None:
        """In the output itself, where the forks would be."""
        if self._as_json:
            self._output.say([json_line({"event": "lost", "forks": count, "more": more})])
            return
        amount = "an unknown number of" if count is None else f"over {number(count)}" if more else number(count)
        why = "the collector was away" if count is None else "this reader was too slow"
        self._output.say([self._output.paint([Piece(f"--- {amount} forks are not shown: {why} ---", "bad")])])

    def _line(self, fork: Said) -> str:
        return json_line(fork.raw) if self._as_json else self._output.paint(compact(fork))


def _note(text: str) -> None:
    with suppress(OSError, AttributeError):
        sys.stderr.write(f"forklore tail: {text}\n")
        sys.stderr.flush()
