"""Collectors as processes of their own."""

import asyncio
import os
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import orjson

ROOT = Path(__file__).parents[3]


@asynccontextmanager
async def process(*arguments, python=("-m", "collector"), **settings):
    """`python`: its own arguments, before the collector's; `settings`: its environment, without any other of forklore's."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FORKLORE_")}
    environment |= {f"FORKLORE_COLLECTOR_{key.upper()}": value for key, value in settings.items()}
    running = await asyncio.create_subprocess_exec(
        sys.executable, *python, *arguments, cwd=ROOT, env=environment, stdout=-1, stderr=-1
    )
    try:
        yield running
    finally:
        if running.returncode is None:
            running.kill()
            await running.wait()


async def address(running):
    return (await running.stdout.readline()).decode().split()[-1]


async def ended(running):
    out, err = await running.communicate()
    return running.returncode, out.decode(), err.decode().splitlines()


async def post(session, url, *events):
    async with session.post(
        f"{url}/v1/events", data=b"\n".join(map(orjson.dumps, events)), headers={"Content-Type": "application/x-ndjson"}
    ) as answer:
        return answer.status, await answer.json()
