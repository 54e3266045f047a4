"""Debian's Chromium on a collector's pages, in which nothing may go wrong unseen.

Must not live here: what a page should say.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

playwright = pytest.importorskip("playwright.async_api")

ARGUMENTS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
SECOND = 1_000_000_000


@asynccontextmanager
async def browser(width=1440, height=900, **how):
    """A page on which nothing may complain: no console message, no error, no breach of the policy, no word to others."""
    async with playwright.async_playwright() as driver:
        chromium = await driver.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS.split())
        page = await chromium.new_page(viewport={"width": width, "height": height}, **how)
        complaints, asked = [], set()
        page.complaints, page.asked = complaints, asked
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: asked.add(request.url.split("/")[2] if "://" in request.url else request.url))
        page.set_default_timeout(10_000)
        try:
            yield page
            assert complaints == [], complaints
            assert len(asked) <= 1
        finally:
            await chromium.close()


async def until(condition):
    """Waits for a coroutine function to give something true."""
    for _ in range(100):
        if await condition():
            return
        await asyncio.sleep(0.1)
    raise AssertionError("it did not come about within 10 s")


async def cell(page, pod, kind):
    """The text of a pod's cell of that class."""
    return await page.locator(f"tr.row:has(bdi.podname:text-is('{pod}')) td.{kind}").inner_text()


async def names(page):
    return await page.locator("tr.row bdi.podname").all_inner_texts()


async def texts(page, selector):
    return await page.locator(selector).all_inner_texts()


async def forked(door, says, pod, total, *, cgroup, **whose):
    """A pod that has forked `total` processes, the last of which is told on its own: a page hears of it."""
    of = {"pod": pod, "cgroup": cgroup, **whose}
    await door.post(says.summary(total, total, end=says.now + total, **of), says.fork(10_000 * cgroup + total, **of))
