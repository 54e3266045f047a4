"""The page of pods, and what all pages have in common, in a real browser."""

import asyncio
import time
from itertools import pairwise

import pytest

from collector.query import StoreReader
from tests.collector.pages.browsing import SECOND, cell, forked, names, texts, until

pytestmark = pytest.mark.browser


async def test_an_empty_page_says_what_to_do_next_and_updates_itself(client, make, browser):
    async with browser() as page:
        await page.goto(client.url)
        assert f"{client.url}/v1/events" in await page.inner_text(".empty")
        assert not await page.locator(".table").count()
        await forked(client, make, "cart-1", 7, cgroup=1)
        await page.wait_for_selector("tr.row")
        assert not await page.locator(".empty").count()


async def test_the_page_shows_what_arrived_and_stays_up_to_date(client, make, browser):
    await client.post(*(make.fork(n) for n in range(23)), make.summary(1, 1023, threads=7, now=50, lost=4), make.gap(1, 4))
    await client.post(make.summary(1, 2, pod="web-1", cgroup=9), make.node(1, heads={0: 23}, delivered=23))
    async with browser() as page:
        await page.goto(client.url)
        assert [await cell(page, "cart-1", kind) for kind in ("forks", "threads", "rate", "top", "missing")] == [
            "1,023",
            "7",
            "5.0/s",
            "sh 23",
            "4 ring full",
        ]
        assert await page.inner_text("tr.row:first-of-type .workload") == "Deployment cart"
        assert await texts(page, ".strip a") == ["1 node", "received 23 of 23"]
        assert await names(page) == ["cart-1", "web-1"]
        await page.evaluate("document.querySelector('tr.row').mark = 'the same element'")
        await page.focus("tr.row:nth-of-type(2) a.main")
        later = make.now + 1
        grown = make.summary(2, 3000, end=later, pod="web-1", cgroup=9)
        await client.post(make.summary(2, 2046, end=later), make.summary(1, 5000, pod="new-1", cgroup=10), grown, make.fork(24))
        await until(lambda: is_cell(page, "cart-1", "forks", "2,046"))
        await until(lambda: are_names(page, ["new-1", "web-1", "cart-1"]))  # one look's questions may be a batch apart
        marks = "[...document.querySelectorAll('tr.row')].map(row => row.mark ?? '')"
        assert await page.evaluate(marks) == ["", "", "the same element"]
        assert await page.evaluate("document.activeElement.innerText") == "web-1"  # the focus went along


async def is_cell(page, pod, kind, text):
    return await cell(page, pod, kind) == text


async def test_no_page_is_fetched_again_before_the_stream_reports_something_new(client, make, browser):
    await forked(client, make, "cart-1", 7, cgroup=1)
    async with browser() as page:
        asked = []
        page.on("request", lambda request: asked.append(request.url.removeprefix(client.url)))
        await page.goto(f"{client.url}/?sort=rate")
        await page.wait_for_selector("#link[data-state=live]")
        await page.wait_for_timeout(1500)  # the first word of the stream may be of what was just sent
        before = asked.count("/?sort=rate")
        assert before <= 2
        await page.wait_for_timeout(2500)
        assert asked.count("/?sort=rate") == before
        assert asked.count("/v1/stream?events=pods") == 1
        await forked(client, make, "cart-1", 8, cgroup=1)
        await until(lambda: is_cell(page, "cart-1", "forks", "8"))
        assert asked.count("/v1/stream?events=pods") == 1


async def test_a_page_is_updated_at_once_when_only_sums_are_new(client, make, browser):
    """Without forks, as for a pod in a storm."""
    await client.post(make.summary(1, 7))
    async with browser() as page:
        await page.goto(client.url)
        await page.wait_for_selector("#link[data-state=live]")
        await page.wait_for_timeout(1500)  # the first word of the stream may be of what was just sent
        await client.post(make.summary(2, 1007, end=make.now + 1))
        await page.wait_for_selector("td.forks b:text-is('1,007')", timeout=5000)  # unasked it would look after 10 s


async def test_a_page_stays_live_while_a_script_at_the_same_address_sends_too_many_requests(running, make, browser):
    async with running(read_rate=2) as client, browser() as page:
        await forked(client, make, "cart-1", 7, cgroup=1)
        await page.goto(client.url)
        statuses = []
        for total in range(8, 11):  # some seconds, in each of which the stream reports something new
            for _ in range(10):
                async with client.session.get(f"{client.url}/v1/pods?limit=x") as answer:
                    statuses.append(answer.status)
            await forked(client, make, "cart-1", total, cgroup=1)
            await until(lambda total=total: is_cell(page, "cart-1", "forks", str(total)))
        assert 429 in statuses
        assert await page.get_attribute("#link", "data-state") == "live"


async def test_a_page_without_a_place_in_the_stream_tries_again(running, browser):
    async with running(streams=1) as client, browser() as page:
        tried = []
        page.on("request", lambda request: tried.append(request.url) if "/v1/stream" in request.url else None)
        async with client.session.get(f"{client.url}/v1/stream"):
            await page.goto(f"{client.url}/nodes")
            await page.wait_for_timeout(3000)
            assert len(tried) == 1
        await page.wait_for_selector("#link[data-state=live]")
        await until(lambda: is_open(page))
        page.complaints.clear()  # the browser itself logs the 503


async def is_open(page):
    return await page.evaluate("source.readyState === EventSource.OPEN")


async def test_a_slow_page_is_fetched_less_often(client, make, browser, monkeypatch):
    """A page takes a quarter of its collector's time at most, however much is stored."""
    real = StoreReader.pods

    async def slow(*arguments):
        await asyncio.sleep(0.6)
        return await real(*arguments)

    await forked(client, make, "cart-1", 7, cgroup=1)
    async with browser() as page:
        await page.goto(client.url)
        await page.wait_for_selector("#link[data-state=live]")
        monkeypatch.setattr(StoreReader, "pods", slow)
        asked = []
        page.on("request", lambda request: asked.append(time.monotonic()) if request.url == f"{client.url}/" else None)
        for total in range(8, 120):  # a busy machine takes longer for each
            await forked(client, make, "cart-1", total, cgroup=1)
            await page.wait_for_timeout(400)
            if len(asked) >= 3:
                break
        assert len(asked) >= 3 and all(later - earlier > 2.3 for earlier, later in pairwise(asked))


async def test_columns_sort_either_way_and_the_address_says_how(client, make, browser):
    for pod, total, cgroup in (("a", 5, 1), ("b", 9, 2), ("c", 7, 3)):
        await forked(client, make, pod, total, cgroup=cgroup)
    async with browser() as page:
        await page.goto(client.url)
        assert await names(page) == ["b", "c", "a"]
        assert await page.get_attribute("th.num:has-text('forks')", "aria-sort") == "descending"
        await page.click("th a:text-is('forks')")
        await until(lambda: are_names(page, ["a", "c", "b"]))
        assert page.url == f"{client.url}/?order=asc"
        await page.click("th a:text-is('pod')")
        await until(lambda: are_names(page, ["a", "b", "c"]))
        assert page.url == f"{client.url}/?sort=name"
        assert await page.get_attribute("th.who[scope=col]", "aria-sort") == "ascending"
        assert await page.locator("th[aria-sort]").count() == 1
        await page.reload()
        assert await names(page) == ["a", "b", "c"]
        await page.go_back()
        await until(lambda: are_names(page, ["a", "c", "b"]))


async def are_names(page, wanted):
    return await names(page) == wanted


@pytest.mark.parametrize("scripted", [True, False])
async def test_filters_can_be_typed_linked_and_removed(client, make, scripted, browser):
    await forked(client, make, "cart-1", 5, cgroup=1)
    await forked(client, make, "cart-2", 4, cgroup=2, node="node2")
    await forked(client, make, "web-1", 3, cgroup=3, namespace="front")
    async with browser(java_script_enabled=scripted) as page:
        await page.goto(client.url)
        await page.fill("#find", "CART-")
        if not scripted:
            await page.press("#find", "Enter")
        await until(lambda: are_names(page, ["cart-1", "cart-2"]))
        assert "text=CART-" in page.url
        if scripted:
            await page.click("summary:text-is('Filters')")
        await page.fill("input[name=node]", "node2")
        await page.click("button:text-is('Apply')")
        await until(lambda: are_names(page, ["cart-2"]))
        assert await texts(page, ".chips a") == ["node node2 ×", "text CART- ×"]  # noqa: RUF001
        await page.reload()
        assert await names(page) == ["cart-2"]
        await page.click(".chips a:has-text('node2')")
        await until(lambda: are_names(page, ["cart-1", "cart-2"]))
        await page.goto(f"{client.url}/?namespace=front")
        assert await names(page) == ["web-1"]
        await page.goto(f"{client.url}/?label=app%3Dcart&label=tier%3Dnone")
        assert await page.inner_text(".none") == "No pod matches these filters."
        await page.goto(f"{client.url}/?label=tier%3Dweb&workload=Deployment/cart")
        assert len(await names(page)) == 3


async def test_an_update_keeps_half_typed_text(client, make, browser):
    await forked(client, make, "cart-1", 5, cgroup=1)
    async with browser() as page:
        await page.goto(client.url)
        await page.click("summary:text-is('Filters')")
        await page.fill("input[name=namespace]", "sho")
        await page.focus("#hold")
        await forked(client, make, "cart-1", 6, cgroup=1)
        await until(lambda: is_cell(page, "cart-1", "forks", "6"))
        assert await page.input_value("input[name=namespace]") == "sho"
        assert await page.get_attribute("details.more", "open") is not None


async def test_a_paused_page_does_not_change_until_it_continues(client, make, browser):
    await forked(client, make, "cart-1", 5, cgroup=1)
    async with browser() as page:
        await page.goto(client.url)
        await page.click("#hold")
        assert await page.inner_text("#link") == "paused"
        await forked(client, make, "cart-1", 6, cgroup=1)
        await page.wait_for_timeout(1800)
        assert await cell(page, "cart-1", "forks") == "5"
        await page.click("#hold")
        await until(lambda: is_cell(page, "cart-1", "forks", "6"))


async def test_an_answer_that_arrives_after_the_pause_is_not_shown(client, make, browser, monkeypatch):
    real, begun, go_on = StoreReader.pods, asyncio.Event(), asyncio.Event()

    async def slow(*arguments):
        begun.set()
        await go_on.wait()
        return await real(*arguments)

    await forked(client, make, "cart-1", 5, cgroup=1)
    async with browser() as page:
        await page.goto(client.url)
        await page.wait_for_selector("#link[data-state=live]")
        await page.wait_for_timeout(1500)  # the first word of the stream may be of what was just sent
        monkeypatch.setattr(StoreReader, "pods", slow)
        await forked(client, make, "cart-1", 6, cgroup=1)
        await asyncio.wait_for(begun.wait(), 10)
        await page.click("#hold")
        go_on.set()
        await page.wait_for_timeout(500)
        assert await cell(page, "cart-1", "forks") == "5"
        await page.click("#hold")
        await until(lambda: is_cell(page, "cart-1", "forks", "6"))


async def test_a_collector_that_does_not_answer_is_shown_on_the_page(running, make, browser):
    async with browser() as page:
        async with running() as client:
            await forked(client, make, "cart-1", 7, cgroup=1)
            await page.goto(client.url)
            await page.wait_for_selector("#link[data-state=live]")
        await page.wait_for_selector("#stale:not([hidden])", timeout=20_000)
        assert "does not answer" in await page.inner_text("#stale")
        assert await cell(page, "cart-1", "forks") == "7"
        page.complaints.clear()  # the browser itself logs a line that was cut


async def test_a_browser_signs_in_and_returns_to_the_requested_page(running, make, tmp_path, browser):
    (tmp_path / "token").write_text("a token")
    async with running(token_file=tmp_path / "token") as client, browser() as page:
        await client.post(make.summary(1, 7), Authorization="Bearer a token")
        await page.goto(f"{client.url}/pods/shop/cart-1?from=-1h")
        assert "cart-1" not in (await page.inner_text("body"))
        await page.fill("#token", "wrong")
        await page.click("button")
        assert await page.inner_text("[role=alert]") == "This token is not valid."
        assert [c for c in page.complaints if "401" not in c] == []  # the browser itself logs a refusal
        page.complaints.clear()
        await page.fill("#token", "a token")
        await page.click("button")
        await page.wait_for_selector("h1:has-text('cart-1')")
        assert page.url == f"{client.url}/pods/shop/cart-1?from=-1h"
        assert await page.evaluate("document.cookie") == ""
        await page.click("text=Sign out")
        await page.wait_for_selector("#token")
        page.complaints.clear()


async def test_signing_in_does_not_redirect_to_another_host(running, tmp_path):
    (tmp_path / "token").write_text("a token")
    async with running(token_file=tmp_path / "token") as client:
        for back in ("https://evil.example/", "//evil.example", "/\\evil.example", "a\r\nSet-Cookie: b"):
            form = {"token": "a token", "back": back}
            async with client.session.post(f"{client.url}/signin", data=form, allow_redirects=False) as answer:
                assert answer.status == 303
                assert answer.headers["Location"].startswith("./")
                assert "b" not in answer.cookies


async def test_the_page_can_be_used_with_the_keyboard_alone(client, make, browser):
    await forked(client, make, "cart-1", 9, cgroup=1)
    await forked(client, make, "web-1", 5, cgroup=9)
    async with browser() as page:
        await page.goto(client.url)
        await page.keyboard.press("Tab")
        assert await page.evaluate("document.activeElement.innerText") == "Skip to the content"
        await page.keyboard.press("Enter")
        assert await page.evaluate("document.activeElement.id") == "main"
        await page.keyboard.press("/")
        await page.keyboard.type("web")
        await until(lambda: are_names(page, ["web-1"]))
        assert page.url.endswith("text=web")
        await page.fill("#find", "")
        await until(lambda: are_names(page, ["cart-1", "web-1"]))
        await page.focus("tr.row a.main")
        await page.keyboard.press("ArrowDown")
        outline = await page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid"  # the focus is seen
        await page.keyboard.press("Enter")
        await page.wait_for_selector("h1:has-text('web-1')")


async def test_a_silent_node_is_shown_on_the_page_of_pods(client, make, browser):
    await client.post(make.summary(1, 7), make.node(1, heads={0: 9}, delivered=3, captured=10))
    async with browser() as page:
        await page.goto(client.url)
        assert "node1" in await page.inner_text(".alarms")
        assert await page.get_attribute(".strip", "data-state") == "bad"


async def test_a_pod_with_a_kernel_of_its_own_is_not_observable_and_never_zero(client, make, browser):
    gap = make.gap(0, None, "not_observable", pod="vm-1", cgroup=900) | {"container": None, "missing": "sched_process_fork"}
    answer = await client.post(gap, make.summary(1, 40, pod="vm-1", cgroup=901), make.summary(1, 9))
    assert answer["rejected"] == []
    async with browser() as page:
        await page.goto(client.url)
        assert await cell(page, "vm-1", "missing") == "not observable"
        assert [await cell(page, "vm-1", kind) for kind in ("forks", "threads", "rate")] == ["–", "–", "–/s"]  # noqa: RUF001
        assert await cell(page, "cart-1", "forks") == "9"
        await page.goto(f"{client.url}/pods/shop/vm-1")
        numbers = dict(zip(await texts(page, ".sums dt"), await texts(page, ".sums dd"), strict=True))
        assert (numbers["forks"], numbers["missing"]) == ("–", "not observable")  # noqa: RUF001
        assert "the pod has a kernel of its own" in await page.inner_text("main")


async def test_a_storm_that_goes_on_is_marked_and_read_out(client, make, browser):
    await client.post(make.summary(1, 9), make.fork(1))
    async with browser() as page:
        await page.goto(client.url)
        await page.wait_for_selector("#link[data-state=live]")
        storm = make.storm(2, "start", start=make.now - 20 * SECOND, end=make.now - 19 * SECOND, processes=2500, cgroup=4821)
        await client.post(storm, make.fork(2))
        await page.wait_for_selector(".mark[data-state=now]")
        assert await texts(page, ".mark") == ["in a storm"]
        assert await page.inner_text("#announcement") == "shop/cart-1: in a storm"
