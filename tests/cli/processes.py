"""Runs the command as a user does: in a process of its own, with pipes."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from contextlib import asynccontextmanager

SGR = re.compile(r"\x1b\[[0-9;]*m")


class CommandResult:
    def __init__(self, code, out, err):
        self.code, self.raw, self.out, self.err = code, out, out.decode(), err.decode()
        self.lines = self.out.splitlines()


def environment_of(collector, **more):
    # pytest-xdist sets COLUMNS and LINES, which would override the size of the test's own terminal.
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FORKLORE_", "COLUMNS", "LINES"))}
    return {
        **kept,
        "FORKLORE_COLLECTOR": collector.url if collector else "http://127.0.0.1:9",
        "LC_ALL": "C.UTF-8",
        **more,
    }


async def run_forklore(collector, *arguments, **environment):
    """Runs the command until it ends by itself."""
    async with start_forklore(collector, *arguments, **environment) as process:
        out, err = await process.communicate()
    return CommandResult(process.returncode, out, err)


@asynccontextmanager
async def start_forklore(collector, *arguments, stdout=asyncio.subprocess.PIPE, **environment):
    """A running command; it is killed at the end of the block."""
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


def is_harmless(text):
    """Whether the text has no control characters but line ends and complete colour sequences."""
    return all(letter.isprintable() or letter == "\n" for letter in SGR.sub("", text))
