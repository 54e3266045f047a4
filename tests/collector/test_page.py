"""The page, in a real browser: what it says is what came, and what came can do nothing to it."""

import asyncio
import re
from contextlib import asynccontextmanager

import pytest

playwright = pytest.importorskip("playwright.async_api")
pytestmark = pytest.mark.browser

ARGUMENTS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
SECOND = 1_000_000_000
HOSTILE = "\x01<b>\"\n\ufffd'"
SHOWN = "\\x01<b>\"\\n\ufffd'"


@asynccontextmanager
async def browser(width=1440, height=900, **how):
    """A page on which nothing may complain: no console message, no error, no breach of the policy, no word to others."""
    async with playwright.async_playwright() as driver:
        chromium = await driver.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS.split())
        page = await chromium.new_page(viewport={"width": width, "height": height}, **how)
        complaints, asked = [], set()
        page.complaints = complaints
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: asked.add(request.url.split("/")[2] if "://" in request.url else request.url))
        page.set_default_timeout(10_000)
        yield page
        assert complaints == []
        assert len(asked) <= 1
        await chromium.close()


async def cell(page, pod, field):
    return await page.locator(f"tr.row:has(bdi.podname:text-is('{pod}')) [data-f={field}]").inner_text()


async def until(condition):
    for _ in range(100):
        if await condition():
            return
        await asyncio.sleep(0.1)
    raise AssertionError("it did not come about within 10 s")


@pytest.fixture
async def door(running):
    async with running() as opened:
        yield opened


async def test_an_empty_page_says_what_to_do_next(door):
    async with browser() as page:
        await page.goto(door.url)
        assert f"{door.url}/v1/events" in await page.inner_text(".empty")
        assert not await page.is_visible(".table")


async def test_the_page_says_what_came_and_goes_on_saying_it(door, says):
    await door.post(*(says.fork(n) for n in range(23)), says.summary(1, 1023, threads=7, now=50, lost=4), says.gap(1, 4))
    await door.post(says.summary(1, 2, pod="web-1", cgroup=9), says.node(1, heads={0: 23}, delivered=23))
    async with browser() as page:
        await page.goto(door.url)
        assert [await cell(page, "cart-1", field) for field in ("forks", "threads", "rate", "top", "top_forks")] == [
            "1,023",
            "7",
            "5.0",
            "sh",
            "23",
        ]
        assert await page.locator("tr.row .badge").all_inner_texts() == ["4 ring full"]
        assert "adds up" in await page.inner_text(".node .verdict")
        names = await page.locator("tr.row bdi.podname").all_inner_texts()
        assert names == ["cart-1", "web-1"]
        await page.evaluate("document.querySelector('tr.row').mark = 'the same element'")
        await door.post(says.summary(2, 2046, end=says.now + 1), says.summary(1, 5000, pod="new-1", cgroup=10))
        await until(lambda: is_text(page, "cart-1", "forks", "2,046"))
        assert await page.locator("tr.row bdi.podname").all_inner_texts() == ["new-1", "cart-1", "web-1"]
        assert await page.evaluate("[...document.querySelectorAll('tr.row')].map(row => row.mark ?? '')") == [
            "",
            "the same element",
            "",
        ]


async def is_text(page, pod, field, text):
    return await cell(page, pod, field) == text


async def test_a_chosen_pod_shows_its_forks_and_stays_chosen(door, says):
    await door.post(*(says.fork(n, pid=9000 + n) for n in range(3)), says.summary(1, 3), says.fork(9, pod="web-1", cgroup=9))
    async with browser() as page:
        await page.goto(door.url)
        await page.click("text=cart-1")
        await page.wait_for_selector("#detail:not([hidden])")
        assert "pod=" in page.url
        rows = page.locator(".forktable tbody tr")
        assert await rows.locator("[data-f=pid]").all_inner_texts() == ["9002", "9001", "9000"]
        assert await rows.locator("[data-f=ns_pid]").all_inner_texts() == ["102", "101", "100"]
        assert await page.locator("tr.row[aria-current=true] bdi.podname").all_inner_texts() == ["cart-1"]
        await door.post(says.fork(3, pid=9003))
        await until(lambda: first_is(rows.locator("[data-f=pid]"), "9003"))
        again = page.url
        await page.goto("about:blank")
        await page.goto(again)  # the address is enough, before any script ran
        assert await page.inner_text("#detail h2 [data-f=name]") == "cart-1"
        await page.keyboard.press("Escape")
        await page.wait_for_selector("#detail", state="hidden")
        await page.go_back()
        await page.wait_for_selector("#detail:not([hidden])")


async def first_is(locator, text):
    return await locator.first.inner_text() == text


@pytest.mark.parametrize("scripted", [True, False])
async def test_a_hostile_name_is_text_and_nothing_else(door, says, scripted):
    evil = '<img src=x onerror="document.title=1">\u202e'
    whose = {"pod": evil, "namespace": "</script><b>"}
    fork = says.fork(1, comm=HOSTILE, container=evil, **whose)
    fork["k8s"]["labels"] = {evil: "'><script>document.title=1</script>"}
    async with browser(java_script_enabled=scripted) as page:
        if scripted:
            await page.goto(door.url)  # every item is then made by the script
        begun = says.now - 60 * SECOND
        gap = says.gap(2, 2, "<b>", **whose) | {"sink": evil, "missing": evil}
        away = says.node_gap(5, 5, "<b>") | {"missing": "sched_process_fork"}
        storms = [
            says.storm(n, phase, start=begun, end=says.now, processes=9, **whose) for n, phase in ((1, "stop"), (2, "start"))
        ]
        node = says.node(1, heads={0: 9}, sinks={evil: says.sink(delivered=1, lost={evil: 3})})
        answer = await door.post(fork, says.summary(1, 9, container=evil, **whose), node, gap, away, *storms)
        assert answer["rejected"] == []
        if not scripted:
            await page.goto(f"{door.url}/?pod=p1")
        else:
            await page.click("tr.row a")
            await page.wait_for_selector(".forktable tbody tr")
            assert await page.evaluate("document.title") == "forklore"
        assert await page.locator(".forktable [data-f=comm]").inner_text() == SHOWN
        assert await page.locator(".parent [data-f=comm]").inner_text() == SHOWN
        assert evil[:-1] + "\\u202e" in await page.inner_text("#detail h2")
        assert await page.locator("main b:not([data-f]), main img, main script").count() == 0
        assert await page.locator(".bands > rect").count() == 4
        assert "\\u202e" in await page.inner_text("section:has(> .gaps) >> nth=0")
        assert "nobody knows of which pods" in await page.inner_text(".nodegaps")


async def five_minutes(door, says, **whose):
    """A pod that forks 10 a second, summed up every 10 s until now."""
    await door.post(*(says.summary(n, 100 * n, now=100, end=says.now - (30 - n) * 10 * SECOND, **whose) for n in range(1, 31)))


async def drawn(page, kind, says):
    """Where the bands of a kind begin and end: seconds before the last word, by where they stand under the line."""
    boxes = await page.evaluate(
        """kind => { const line = document.querySelector('.spark.wide').getBoundingClientRect();
        return [...document.querySelectorAll(`.bands rect[data-state=${kind}]`)].map(band => band.getBoundingClientRect())
          .map(band => [(line.right - band.left) / line.width, (line.right - band.right) / line.width]) }""",
        kind,
    )
    return sorted((round(begin * 290), round(end * 290)) for begin, end in boxes)  # 30 intervals of 10 s, drawn at their ends


@pytest.mark.parametrize("scripted", [True, False])
async def test_a_storm_is_drawn_told_and_marked(door, says, scripted):
    await five_minutes(door, says)
    await door.post(says.summary(1, 50, pod="web-1", cgroup=9))
    before = [says.now - 200 * SECOND, says.now - 150 * SECOND]
    await door.post(says.storm(1, "stop", start=before[0], end=before[1], processes=61240))
    async with browser(java_script_enabled=scripted) as page:
        await page.goto(door.url)
        mark = page.locator("tr.row:has(bdi.podname:text-is('cart-1')) .mark")
        assert await mark.inner_text() == "1 storm"
        assert not await page.is_visible("tr.row:has(bdi.podname:text-is('web-1')) .mark")
        await door.post(says.storm(2, "start", start=says.now - 20 * SECOND, end=says.now - 19 * SECOND, processes=2500))
        if scripted:
            await until(lambda: is_inner(mark, "in a storm"))
            await until(lambda: is_inner(page.locator("#said"), "shop/cart-1: in a storm"))  # read out
        await page.goto(f"{door.url}/?pod=p1")
        assert await mark.inner_text() == "in a storm"
        assert (await page.inner_text(".storming")).startswith("In a storm since ")
        assert await drawn(page, "storm", says) == [(20, 0), (200, 150)]
        assert await page.locator(".storms li > [data-f=text]").all_inner_texts() == [
            "Storm that goes on: 2,500 forks when it was noticed, 2,500 of them only counted, the limit being 2,000 a second",
            "Storm of 50 s: 61,240 forks, 61,240 of them only counted, the limit being 2,000 a second",
        ]
        label = await page.get_attribute(".spark.wide", "aria-label")
        assert label.startswith("Forks a second from ") and label.endswith("at most 10.0")
        await door.post(says.storm(2, "stop", start=says.now - 20 * SECOND, end=says.now - 10 * SECOND, processes=4000))
        if not scripted:
            await page.reload()
        await until(lambda: is_inner(mark, "2 storms"))
        assert not await page.is_visible(".storming")
        assert await drawn(page, "storm", says) == [(20, 10), (200, 150)]


async def is_inner(locator, text):
    return await locator.inner_text() == text


@pytest.mark.parametrize("scripted", [True, False])
async def test_a_gap_is_drawn_where_it_was_and_whose_nobody_knows_is_drawn_otherwise(door, says, scripted):
    def ago(seconds):
        return says.now - seconds * SECOND

    async with browser(java_script_enabled=scripted) as page:
        await five_minutes(door, says)
        await page.goto(f"{door.url}/?pod=p1")
        assert await page.locator(".bands > rect").count() == 0
        await door.post(
            says.node(1, heads={0: 0}),  # its only sink is this one
            says.gap(40, 40, end=ago(100), seconds=30),
            says.gap(7, 7, "journal_full", sink="collector", end=ago(250), seconds=10),
            says.gap(9, 9, "journal_full", sink="siem", end=ago(60)),
            says.gap(5, 5, end=ago(2000)),
            says.node_gap(700, 700, end=ago(20), seconds=15),
        )
        if not scripted:
            await page.reload()
        await page.wait_for_selector(".bands > rect", state="attached")
        assert await drawn(page, "gap", says) == [(130, 100), (260, 250)]
        assert await drawn(page, "node", says) == [(35, 20)]
        gaps = page.locator("#detail .gaps:not(.nodegaps) [data-f=text]")
        assert await gaps.all_inner_texts() == [
            "9 forks missing: journal full, on the way to siem",
            "40 forks missing: ring full",
            "7 forks missing: journal full, on the way to collector",
            "5 forks missing: ring full",
        ]
        assert await page.inner_text(".nodegaps [data-f=text]") == (
            "700 forks missing: restart. They are of node1 as a whole: nobody knows of which pods"
        )
        assert await page.locator(".bands > rect title").all_text_contents() != []
        assert await page.locator("#detail .whole .badge").all_inner_texts() == [
            "7 journal full",
            "45 ring full",
            "9 missing at siem",
        ]
        assert await page.inner_text("tr.row .unsure") == "its share of 700 is not known"


@pytest.mark.parametrize("scripted", [True, False])
async def test_the_ledger_says_what_is_missing_of_each_stream(door, says, scripted):
    other = says.stream[:-1] + "9"
    await door.post(*(says.fork(n) for n in range(9) if n not in (3, 4)), says.node(1, heads={0: 10}, delivered=7, ring=3))
    await door.post(says.fork(0, stream=other), says.node(1, heads={0: 1}, delivered=1, stream=other, end=says.now + 1))
    await door.post(says.node_gap(700, 700))
    async with browser(java_script_enabled=scripted) as page:
        await page.goto(door.url)
        assert await page.inner_text(".account [data-f=came]") == "received 8 of 11"
        assert await page.locator(".account .chip").all_inner_texts() == ["missing, explained", "3 ring full"]
        assert await page.inner_text(".never") == "700 forks never had a number, so nobody knows whose they were"
        assert await page.inner_text(".node .gaps [data-f=text]") == "700 forks missing: restart"
        assert not await page.is_visible(".streams")
        await page.focus(".ledger summary")
        await page.keyboard.press("Enter")
        await page.wait_for_selector(".streams")
        streams = page.locator(".stream")
        assert await streams.locator("[data-f=came]").all_inner_texts() == ["received 1 of 1", "received 7 of 10"]
        assert await streams.locator("[data-f=state]").all_inner_texts() == ["complete", "missing, explained"]
        assert await page.locator(".holes li").all_inner_texts() == [
            "CPU 0: numbers 3 to 4, ring full",
            "CPU 0: number 9, ring full",
        ]
        if scripted:
            await door.post(says.fork(3))
            await until(lambda: is_inner(page.locator(".account [data-f=came]"), "received 9 of 11"))
            assert await page.locator(".holes li").all_inner_texts() == [
                "CPU 0: number 4, ring full",
                "CPU 0: number 9, ring full",
            ]
            assert await page.is_visible(".streams")  # it stays open


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_a_phone_scrolls_down_only(door, says, scheme):
    await door.post(*(says.fork(n, pod="a-very-long-name-of-a-pod-" + "x" * 200, comm="W" * 64) for n in range(30)))
    await door.post(says.summary(1, 10**9), says.node(1, heads={0: 10**9}), says.host_summary(1, 5))
    long = {"pod": "a-very-long-name-of-a-pod-" + "x" * 200}
    storm = says.storm(2**62, "start", start=says.now - 10**10, end=says.now, processes=2**53 - 1, limit=2**62, **long)
    gaps = [says.gap(1, 10**15, "W" * 60, **long), says.node_gap(1, 10**15, "W" * 60)]
    assert (await door.post(storm, *gaps))["rejected"] == []
    async with browser(390, 844, color_scheme=scheme) as page:
        for address in ("/", "/?pod=p1", "/?pod=h:demo/node1"):
            await page.goto(door.url + address)
            await page.click(".ledger summary")
            assert await page.evaluate("document.documentElement.scrollWidth") == 390


async def test_a_collector_that_is_gone_is_said_and_seen(running, says):
    async with browser() as page, running() as door:
        await door.post(says.summary(1, 7))
        await page.goto(door.url)
        await page.route("**/page.json*", lambda _route: None)  # it hangs; a refused connection would be logged
        await page.wait_for_selector("#stale:not([hidden])")
        assert "does not answer" in await page.inner_text("#stale")
        assert await cell(page, "cart-1", "forks") == "7"
        await page.unroute("**/page.json*")
        await page.wait_for_selector("#stale", state="hidden", timeout=20_000)


async def test_a_browser_signs_in(running, says, tmp_path):
    (tmp_path / "token").write_text("a token")
    async with running(token_file=tmp_path / "token") as door, browser() as page:
        await door.post(says.summary(1, 7), Authorization="Bearer a token")
        await page.goto(door.url)
        await page.fill("#token", "wrong")
        await page.click("button")
        assert await page.inner_text("[role=alert]") == "That is not the token."
        assert [c for c in page.complaints if "401" not in c] == []  # the browser itself logs a refusal
        page.complaints.clear()
        await page.fill("#token", "a token")
        await page.click("button")
        await page.wait_for_selector("tr.row")
        assert await cell(page, "cart-1", "forks") == "7"
        assert await page.evaluate("document.cookie") == ""


async def test_the_keyboard_is_enough(door, says):
    await door.post(says.summary(1, 9), says.summary(1, 5, pod="web-1", cgroup=9))
    async with browser() as page:
        await page.goto(door.url)
        await page.keyboard.press("/")
        await page.keyboard.type("web")
        await until(lambda: rows_are(page, ["web-1"]))
        assert re.search(r"find=web$", page.url)
        await page.fill("#find", "")
        await until(lambda: rows_are(page, ["cart-1", "web-1"]))
        await page.focus("tr.row a")
        await page.keyboard.press("ArrowDown")
        await page.keyboard.press("Enter")
        await page.wait_for_selector("#detail:not([hidden])")
        assert await page.inner_text("#detail h2 [data-f=name]") == "web-1"


async def rows_are(page, names):
    return await page.locator("tr.row bdi.podname").all_inner_texts() == names
