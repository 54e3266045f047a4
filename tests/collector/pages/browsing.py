"""Debian's Chromium on a collector's pages: any error of a page or a request fails the test."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

ARGUMENTS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
SECOND = 1_000_000_000
PATIENCE = 25  # seconds for what takes one: a page that is slow to come, on a busy machine, is asked for less often


class Chromium:
    """One browser for all tests of a process: starting it takes longer than most of them. Its pages share a window, which costs
    more than a page. Cookies are cleared, and the collectors' ports keep everything else apart."""

    def __init__(self, driver):
        self._driver, self._chromium, self._window = driver, None, None

    @asynccontextmanager
    async def page(self, width=1440, height=900, color_scheme="light", **how):
        """A page whose test fails on any console message, error, breach of the content policy, or request to another host.
        `how`: options of a window of its own."""
        if self._chromium is None or not self._chromium.is_connected():
            self._chromium = await self._driver.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS.split())
            self._window = await self._chromium.new_context()
        window = await self._chromium.new_context(**how) if how else self._window
        await window.clear_cookies()
        page = await window.new_page()
        try:
            await page.set_viewport_size({"width": width, "height": height})
            await page.emulate_media(color_scheme=color_scheme)
            complaints, asked = [], set()
            page.complaints, page.asked = complaints, asked
            page.on("console", lambda message: complaints.append(message.text))
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on("request", lambda request: asked.add(request.url.split("/")[2] if "://" in request.url else request.url))
            page.set_default_timeout(PATIENCE * 1000)
            yield page
            assert complaints == [], complaints
            assert len(asked) <= 1
        finally:
            await (window if how else page).close()

    async def close(self):
        if self._chromium is not None:
            await self._chromium.close()


@asynccontextmanager
async def shared_chromium():
    playwright = pytest.importorskip("playwright.async_api")
    async with playwright.async_playwright() as driver:
        chromium = Chromium(driver)
        try:
            yield chromium
        finally:
            await chromium.close()


async def until(condition):
    """Waits until a coroutine function returns something true."""
    async with asyncio.timeout(PATIENCE):
        while not await condition():  # noqa: ASYNC110 - a page rings no bell
            await asyncio.sleep(0.1)


async def cell(page, pod, kind):
    """The text of a pod's cell of that class."""
    return await page.locator(f"tr.row:has(bdi.podname:text-is('{pod}')) td.{kind}").inner_text()


async def names(page):
    return await page.locator("tr.row bdi.podname").all_inner_texts()


async def texts(page, selector):
    return await page.locator(selector).all_inner_texts()


async def forked(client, make, pod, total, *, cgroup, **attribution):
    """A pod that has forked `total` processes, the last of which is sent apart, so that pages are updated."""
    of = {"pod": pod, "cgroup": cgroup, **attribution}
    await client.post(make.summary(total, total, end=make.now + total, **of), make.fork(10_000 * cgroup + total, **of))
