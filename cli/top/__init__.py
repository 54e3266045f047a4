"""`forklore top`: pods by how fast they fork, live; and, where there is no terminal, once, as text.

Textual is imported when there is a screen to draw on. Must not live here: what the screen shows.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from asyncio import get_running_loop
from collections.abc import Sequence
from typing import Final

from cli.client.client import Collector
from cli.client.errors import OK, UNAVAILABLE, Trouble
from cli.exit import ended
from cli.options import access_of, asked, new_parser, pod_filters
from cli.text.output import Output
from cli.text.progress import Progress
from cli.top.rows import SORTS, Wish, as_text, chosen, rows_of, summary

__all__ = ["main"]

INTERVAL: Final = 2.0  # seconds between two looks; an agent sums up every 10 s, so no more is to be seen
_EPILOG: Final = """Where the output is no terminal, the table is printed once. Rates are of the agents' last interval, 10 s by
default. Red is a pod in a storm, whose forks are only counted, exactly; a dot in its line is an interval that
nobody spoke of."""


def main(arguments: Sequence[str]) -> int:
    parser = new_parser("top", "Shows pods by how fast they fork.", _EPILOG)
    pod_filters(parser)
    parser.add_argument("--sort", choices=SORTS, default=SORTS[0], help=f"default: {SORTS[0]}")
    parser.add_argument("--interval", type=_seconds, default=INTERVAL, metavar="SECONDS", help=f"default: {INTERVAL:g}")
    parser.add_argument(
        "--limit", type=int, default=1000, metavar="N", help="pods asked for, the latest seen; default: 1000, the most"
    )
    parser.add_argument("--once", action="store_true", help="print the table once, as text")
    options = parser.parse_args(arguments)
    return ended("top", lambda: _show(options))


async def _show(options: argparse.Namespace) -> int:
    query = [*asked(options), ("limit", str(options.limit))]
    wish = Wish(sort=options.sort)
    access = access_of(options)
    async with Collector(access) as collector:
        async with Progress(f"asking {access.shown}") as progress:
            answer = await collector.get(("v1", "pods"), query, progress)
        if options.once or not _is_screen():
            output = Output()
            rows = chosen(rows_of(answer), wish)
            output.say([*map(output.paint, as_text(rows)), output.paint(summary(answer, rows, len(rows)))])
            return OK
        try:
            from cli.top.app import Top  # noqa: PLC0415 - a screen's library, for who has a screen
        except ModuleNotFoundError as missing:
            if (missing.name or "").partition(".")[0] not in ("textual", "rich"):
                raise
            text = (
                "the screen wants Textual, which is not installed: pip install 'forklore[terminal]', or --once for plain text"
            )
            raise Trouble(UNAVAILABLE, text) from None
        top = Top(collector, query, wish, options.interval, answer)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # leave no terminal behind that echoes nothing
            get_running_loop().add_signal_handler(number, top.exit)
        trouble = await top.run_async()
        if trouble:
            raise trouble
        return top.return_code or OK


def _is_screen() -> bool:
    return sys.stdout.isatty() and sys.stdin.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.5 <= seconds <= 3600:
        raise argparse.ArgumentTypeError("seconds from 0.5 to 3600 are wanted, such as 2")
    return seconds
