"""The command as a user starts it: a process of its own, with pipes."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from contextlib import asynccontextmanager

SGR = re.compile(r"\x1b\[[0-9;]*m")


class ClosedInstances:
    def __init__(self, code, out, err):
        self.code, self.raw, self.out, self.err = code, out, out.decode(), err.decode()
        self.lines = self.out.splitlines()


def environment_of(collector, **more):
    # pytest-xdist sets the size of a terminal, which would go before that of the test's own.
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FORKLORE_", "COLUMNS", "LINES"))}
    return {**kept, "FORKLORE_COLLECTOR": collector.url if collector else "http://127.0.0.1:9", "LC_ALL": "C.UTF-8", **more}


async def ran(collector, *arguments, **environment):
    """Until it ends by itself."""
    async with started(collector, *arguments, **environment) as process:
        out, err = await process.communicate()
    return ClosedInstances(process.returncode, out, err)


@asynccontextmanager
async def started(collector, *arguments, stdout=asyncio.subprocess.PIPE, **environment):
    """The process, which does not outlive the block."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cli", *arguments, env=environment_of(collector, **environment),
        stdin=asyncio.subprocess.DEVNULL, stdout=stdout, stderr=asyncio.subprocess.PIPE, limit=1 << 24,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def harmless(text):
    """Nothing in it acts on a terminal but line ends, and colours that are whole."""
    return all(letter.isprintable() or letter == "\n" for letter in SGR.sub("", text))
