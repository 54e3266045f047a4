"""`forklore collector`: reads the settings and runs the server until SIGTERM or SIGINT.

`forklore collector token` prints the token that it made for readers; `forklore collector certificates` makes certificates. Exit
codes: 0 stopped by a signal, 64 wrong usage, 69 no address, no store or no token, 78 wrong settings (one line each).
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from collector.certificates import command as certificates
from collector.http.generated_token import generated_token
from collector.server.app import CannotListen, NoToken, running_collector
from collector.settings import Settings, WrongSettings, load
from collector.store import StoreUnavailable
from wire.http.certificate import CertificateError

__all__ = ["main"]

STOPPED: Final = 0
USAGE: Final = 64
UNAVAILABLE: Final = 69
WRONG_SETTINGS: Final = 78
_log = logging.getLogger("collector")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the collector until SIGTERM or SIGINT; gives the exit code."""
    if argv is None:
        argv = sys.argv[1:]
    if argv[:1] == ["certificates"]:  # it has options of its own
        return certificates.main(argv[1:])
    parser = argparse.ArgumentParser(
        "forklore collector",
        description="Receives forks from agents and shows them per pod.",
        epilog="`forklore collector certificates --help`: makes and renews certificates.",
    )
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="YAML; FORKLORE_COLLECTOR_* in the environment overrides it"
    )
    parser.add_argument(
        "command", nargs="?", choices=["token"], metavar="token",
        help="only print the token that the collector has made for readers (`generated_read_token_file`)",
    )  # fmt: skip
    parser.add_argument("--check", action="store_true", help="only check the settings")
    try:
        chosen = parser.parse_args(argv)
    except SystemExit as done:
        return USAGE if done.code else STOPPED
    try:
        settings = load(chosen.config)
    except WrongSettings as error:
        for mistake in error.mistakes:
            sys.stderr.write(f"forklore collector: {mistake}\n")
        return WRONG_SETTINGS
    if chosen.check:
        sys.stdout.write("forklore collector: the settings are right\n")
        return STOPPED
    if chosen.command == "token":
        return _print_token(settings.generated_read_token_file)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        asyncio.run(_run(settings))
    except (CannotListen, CertificateError, NoToken, StoreUnavailable) as error:
        sys.stderr.write(f"forklore collector: {error}\n")
        return UNAVAILABLE
    return STOPPED


def _print_token(file: Path | None) -> int:
    if file is None:
        sys.stderr.write("forklore collector: generated_read_token_file is not set\n")
        return WRONG_SETTINGS
    try:
        sys.stdout.write(generated_token(file) + "\n")
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        sys.stderr.write(f"forklore collector: {file}: {why}; the collector makes it when it starts\n")
        return UNAVAILABLE
    return STOPPED


async def _run(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with running_collector(settings) as url:
        _spare_garbage_collection()
        sys.stdout.write(f"forklore collector: {url}\n")
        sys.stdout.flush()
        if settings.access == "open":
            _log.warning("access is open: anyone who reaches %s may read and write", settings.listen)
        if not settings.tls:
            _log.warning("tls is off: everybody on the way to %s can read tokens and events", settings.listen)
        await stop.wait()
        _log.info("stopping")


def _spare_garbage_collection() -> None:
    """What is there now stays; the events that come and go by the thousand hold no cycles. As in the agent."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


if __name__ == "__main__":
    sys.exit(main())
