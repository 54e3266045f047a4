"""`make attack`: prints a table, a row for each attack as soon as it is over. Root. Some minutes.

With arguments only the groups of these names; $STORM_S: seconds of each storm outside pods.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from dev.attack import on_agent, on_collector
from dev.attack.measure import HEADS
from dev.demo.containers.bundles import UnavailableError

NOT_ROOT: Final = 77
UNAVAILABLE: Final = 69
USAGE: Final = 64
STORM_S: Final = float(os.environ.get("STORM_S", "15"))
GROUPS: Final[dict[str, Callable[[Path], Awaitable[None]]]] = {
    "collector": partial(on_collector.strangers_only, tls=False),
    "collector-tls": on_collector.all_attacks,
    "agent": partial(on_agent.strangers_only, tls=False),
    "agent-tls": partial(on_agent.strangers_only, tls=True),
    "containers": partial(on_agent.containers, storm_s=STORM_S),
    "deep": on_agent.among_deep_directories,
    "directories-0": partial(on_agent.among_directories, count=0),
    "directories-45000": partial(on_agent.among_directories, count=45_000),
    "directories-100000": partial(on_agent.among_directories, count=100_000),
}


async def main(names: Sequence[str]) -> None:
    """At SIGTERM, as at SIGINT, it ends what it has started."""
    if task := asyncio.current_task():
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    print("| " + " | ".join(HEADS) + " |\n|" + "---|" * len(HEADS), flush=True)
    for name in names:
        with tempfile.TemporaryDirectory(prefix="forklore-attack-") as folder:
            await GROUPS[name](Path(folder))


if __name__ == "__main__":
    chosen = sys.argv[1:] or list(GROUPS)
    if unknown := set(chosen) - GROUPS.keys():
        print(f"{', '.join(sorted(unknown))}: there is no such group; there are {', '.join(GROUPS)}", file=sys.stderr)
        sys.exit(USAGE)
    if os.geteuid():
        sys.exit(NOT_ROOT)
    try:
        asyncio.run(main(chosen))
    except asyncio.CancelledError:
        sys.exit(128 + signal.SIGTERM)
    except UnavailableError as error:
        print(f"not available: {error}", file=sys.stderr)
        sys.exit(UNAVAILABLE)
