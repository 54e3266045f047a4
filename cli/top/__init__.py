"""`forklore top`: a live table of pods by their rate of forks; where the output is no terminal, printed once.

Textual is imported only when there is a screen to draw on.
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
from cli.client.errors import OK, UNAVAILABLE, CommandError
from cli.exit import run_command
from cli.options import add_pod_filters, filter_query, new_parser, read_access
from cli.text.output import Output
from cli.text.progress import Progress
from cli.top.rows import SORTS, TableView, as_text, rows_of, summary, visible_rows

__all__ = ["main"]

INTERVAL: Final = 2.0  # seconds between two requests; an agent sends a summary every 10 s
_EPILOG: Final = """Where the output is no terminal, the table is printed once. Rates are of the agents' last interval, 10 s by
default. Red is a pod in a storm, whose forks are only counted, exactly; a dot in its line is an interval without
a summary."""


def main(arguments: Sequence[str]) -> int:
    parser = new_parser("top", "Shows pods by their rate of forks.", _EPILOG)
    add_pod_filters(parser)
    parser.add_argument("--sort", choices=SORTS, default=SORTS[0], help=f"default: {SORTS[0]}")
    parser.add_argument("--interval", type=_seconds, default=INTERVAL, metavar="SECONDS", help=f"default: {INTERVAL:g}")
    parser.add_argument(
        "--limit", type=int, default=1000, metavar="N", help="number of pods, those seen last; default: 1000, the maximum"
    )
    parser.add_argument("--once", action="store_true", help="print the table once, as text")
    options = parser.parse_args(arguments)
    return run_command("top", lambda: _show(options))


async def _show(options: argparse.Namespace) -> int:
    query = [*filter_query(options), ("limit", str(options.limit))]
    view = TableView(sort=options.sort)
    access = read_access(options)
    async with Collector(access) as collector:
        async with Progress(f"asking {access.display_url}") as progress:
            answer = await collector.get(("v1", "pods"), query, progress)
        if options.once or not _is_screen():
            output = Output()
            rows = visible_rows(rows_of(answer), view)
            output.write_lines([*map(output.paint, as_text(rows)), output.paint(summary(answer, rows, len(rows)))])
            return OK
        try:
            from cli.top.app import Top  # noqa: PLC0415 - only where there is a screen to draw on
        except ModuleNotFoundError as missing:
            if (missing.name or "").partition(".")[0] not in ("textual", "rich"):
                raise
            text = "the screen needs Textual, which is not installed: pip install 'forklore[terminal]', or use --once for text"
            raise CommandError(UNAVAILABLE, text) from None
        top = Top(collector, query, view, options.interval, answer)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # the terminal must be restored
            get_running_loop().add_signal_handler(number, top.exit)
        error = await top.run_async()
        if error:
            raise error
        return top.return_code or OK


def _is_screen() -> bool:
    return sys.stdout.isatty() and sys.stdin.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.5 <= seconds <= 3600:
        raise argparse.ArgumentTypeError("give seconds from 0.5 to 3600, such as 2")
    return seconds
