"""The pages of workloads, nodes, the ledger and the search in a real browser; and the accessibility of every page."""

import csv
import io
import re
from importlib.resources import files
from pathlib import Path

import orjson
import pytest

import collector.pages
from tests.collector.pages.browsing import SECOND, forked, texts, until

pytestmark = pytest.mark.browser


async def ten_minutes(client, make, pod, rate, cgroup):
    now = make.now
    of = {"pod": pod, "cgroup": cgroup}
    each = rate * 10
    await client.post(*(make.summary(n, each * n, now=each, end=now - (30 - n) * 10 * SECOND, **of) for n in range(1, 31)))


async def test_the_outlier_of_a_workload_is_marked(client, make, browser):
    for pod, rate, cgroup in (("cart-a", 10, 1), ("cart-b", 11, 2), ("cart-c", 9, 3), ("cart-d", 60, 4)):
        await ten_minutes(client, make, pod, rate, cgroup)
    async with browser() as page:
        await page.goto(client.url)
        await page.click("tr.row .workload a >> nth=0")
        await page.wait_for_selector(".multiple")
        assert "/workloads/shop/Deployment/cart" in page.url
        assert await texts(page, ".multiple h3 bdi") == ["cart-d", "cart-b", "cart-a", "cart-c"]
        assert await texts(page, ".multiple[data-outlier=true] h3 bdi") == ["cart-d"]
        assert "5.7×" in await page.inner_text(".multiple[data-outlier=true] .deviation")  # noqa: RUF001
        assert "1 outlier" in await page.inner_text(".sheethead p")
        tops = await page.evaluate(
            "[...document.querySelectorAll('.multiple')].map(one => one.querySelector('.line').getBBox().y)"
        )
        assert tops[0] < 10 and all(top > 45 for top in tops[1:])  # one scale for all: the outlier is far higher
        assert len(set(await page.evaluate("[...document.querySelectorAll('.middle')].map(one => one.getAttribute('d'))"))) == 1
        await page.click("summary:text-is('As a table')")
        assert await page.locator(".astable tbody tr").count() == 4


async def test_each_agent_is_a_row_and_the_unhealthy_ones_come_first(client, make, browser):
    good = make.node(1, heads={0: 9}, delivered=9, sinks={"collector": make.sink(9), "siem": make.sink(5, 4)})
    bad = make.node(1, heads={0: 9}, delivered=3, captured=10, node="node2", stream=make.stream[:-1] + "9")
    await client.post(good, bad, *(make.fork(n) for n in range(9)))
    async with browser() as page:
        await page.goto(f"{client.url}/nodes")
        assert await texts(page, "table.nodes .podname") == ["node2", "node1"]
        row = await texts(page, "table.nodes tbody[data-key='demo/node1'] td")
        assert row[5:7] == ["0.1.0", "6.18.44"] or row[4:6] == ["0.1.0", "6.18.44"]
        assert "112 ms" in row
        assert row[-8:] == ["collector", "9", "0", "0", "siem", "5", "4", "0"]
        await page.fill("#find", "node1")
        await until(lambda: are(page, "table.nodes .podname", ["node1"]))
        await page.click("table.nodes a.main")
        await page.wait_for_selector("h1:has-text('node1')")
        await page.click("text=Pods of this node")
        await page.wait_for_selector("tr.row")
        assert "node=node1" in page.url


async def are(page, selector, wanted):
    return await texts(page, selector) == wanted


async def test_the_forks_of_a_node_outside_pods_have_a_page(client, make, browser):
    await client.post(make.host_summary(1, 55), make.node(1, heads={0: 0}), make.host(make.fork(1)) | {"cgroup": None})
    async with browser() as page:
        await page.goto(client.url)
        await page.click("tbody.outside a.main")
        await page.wait_for_selector("h1:has-text('node1')")
        assert "55" in await texts(page, ".sums dd")
        await page.wait_for_selector(".lane canvas")
        assert await page.locator(".forktable tbody tr").count() == 1


async def test_the_ledger_shows_what_is_missing_of_each_stream(client, make, browser):
    other = make.stream[:-1] + "9"
    await client.post(*(make.fork(n) for n in range(9) if n not in (3, 4)), make.node(1, heads={0: 10}, delivered=7, ring=3))
    await client.post(make.fork(0, stream=other), make.node(1, heads={0: 1}, delivered=1, stream=other, end=make.now + 1))
    await client.post(make.node_gap(700, 700))
    async with browser() as page:
        await page.goto(f"{client.url}/ledger")
        assert await page.inner_text(".sums .first dd") == "8 of 11 numbered forks"
        assert await page.inner_text(".account b") == "received 8 of 11"
        assert await texts(page, ".account .chip, .account .badge") == ["missing, explained", "3 ring full"]
        assert await page.inner_text(".never") == "700 forks never had a number, so their pods are not known"
        assert (await page.inner_text(".node .gaps")).startswith("700 forks missing: restart")
        rows = page.locator(".streams tbody tr")
        assert await rows.locator("td:nth-of-type(1)").all_inner_texts() == ["1", "7"]
        assert await rows.locator("td:nth-of-type(2)").all_inner_texts() == ["1", "10"]
        await page.focus("details.holes summary")
        await page.keyboard.press("Enter")
        assert await texts(page, ".holetable tbody tr") == ["0\t3 to 4\t2\tring full", "0\t9\t1\tring full"]
        await page.wait_for_selector("#link[data-state=live]")
        await client.post(make.fork(3))
        await until(lambda: are(page, ".account b", ["received 9 of 11"]))
        assert (await texts(page, ".holetable tbody tr"))[0] == "0\t4\t1\tring full"  # and it stays open


async def test_search_results_have_pages_and_exports(client, make, browser):
    forks = [make.fork(n, at=make.now - (200 - n) * SECOND, comm="cron" if n % 2 else "sh") for n in range(150)]
    await client.post(*forks, make.summary(1, 150))
    async with browser() as page:
        await page.goto(f"{client.url}/search")
        await page.fill("input[name=namespace]", "shop")
        await page.fill("input[name=from]", "-10m")
        await page.click("button:text-is('Search')")
        await page.wait_for_selector(".forktable")
        assert page.url == f"{client.url}/search?from=-10m&to=&namespace=shop&pod=&comm=&parent_comm=&pid=&entity=&kind=" or (
            "namespace=shop" in page.url
        )
        assert await page.locator(".forktable tbody tr").count() == 100
        newest = await page.inner_text(".forktable tbody tr:first-child th")
        await page.click("a[rel=next]")
        await until(lambda: is_count(page, ".forktable tbody tr", 50))
        await page.click(".turn a:text-is('newest')")
        await until(lambda: is_count(page, ".forktable tbody tr", 100))
        assert await page.inner_text(".forktable tbody tr:first-child th") == newest
        await page.fill("input[name=comm]", "cron")
        await page.press("input[name=comm]", "Enter")
        await until(lambda: is_count(page, ".forktable tbody tr", 75))
        async with page.expect_download() as download:
            await page.click("text=NDJSON")
        lines = [orjson.loads(line) for line in (await saved(download)).splitlines()]
        assert [line["id"] for line in lines] == [fork["id"] for fork in reversed(forks) if fork["comm"] == "cron"]
        async with page.expect_download() as download:
            await page.click("text=CSV")
        assert len(list(csv.reader(io.StringIO((await saved(download)).decode())))) == 76
        await page.fill("input[name=pid]", "no pid")
        await page.click("button:text-is('Search')")
        assert "no pid" in await page.inner_text("[role=alert]:visible >> nth=0")


async def is_count(page, selector, count):
    return await page.locator(selector).count() == count


async def saved(download):
    return (await (await download.value).path()).read_bytes()


PAGES = ("/", "/pods/shop/cart-1", "/workloads/shop/Deployment/cart?cluster=demo", "/nodes", "/nodes/node1", "/ledger")
PAGES += ("/search", "/search?namespace=shop&from=-1h", "/?text=cart&node=node1")


async def a_bit_of_everything(client, make):
    await ten_minutes(client, make, "cart-1", 10, 4821)
    for pod, cgroup in (("cart-2", 2), ("cart-3", 3)):
        await forked(client, make, pod, 90, cgroup=cgroup)
    await client.post(
        *(make.fork(n, at=make.now - (30 - n) * SECOND) for n in range(8)),
        make.storm(1, "start", start=make.now - 40 * SECOND, end=make.now - 39 * SECOND, processes=3000, cgroup=4821),
        make.gap(4, 4, end=make.now - 100 * SECOND),
        make.node_gap(7, 7, end=make.now - 60 * SECOND),
        make.node(1, heads={0: 12}, delivered=8, ring=2),
        make.host_summary(1, 5),
    )


async def violations(page, **how):
    """Broken rules with the elements that break them, and how many rules hold."""
    passes, found = await page.evaluate(
        """async how => { const { passes, violations } = await axe.run({ resultTypes: ['violations'], ...how });
        const shown = ({ id, impact, nodes }) => [id, impact, nodes.map(one => one.html.slice(0, 200))];
        return [passes.length, violations.map(shown)] }""",
        how,
    )
    return [one for one in found if one[1] in ("serious", "critical", "moderate")], passes


async def test_axe_finds_nothing_serious(client, make, browser):
    axe = files("axe_playwright_python").joinpath("axe.min.js").read_text()
    await a_bit_of_everything(client, make)
    async with browser(1440, 900, color_scheme="light") as page:
        for path in PAGES:
            await page.set_viewport_size({"width": 1440, "height": 900})
            await page.goto(client.url + path)
            await page.wait_for_load_state()
            for summary in await page.locator("main summary").all():
                await summary.click()
            await page.evaluate(f"(() => {{ {axe} }})()")  # not as a <script>: the policy forbids it
            for width in (1440, 390):
                await page.set_viewport_size({"width": width, "height": 900})
                serious, passes = await violations(page)
                assert serious == [] and passes > 10, (path, width)
                assert await page.evaluate("document.documentElement.scrollWidth") == width, path  # it scrolls down only
                # In the dark the page is the same in all but its colours.
                await page.emulate_media(color_scheme="dark")
                serious, passes = await violations(page, runOnly=["color-contrast", "link-in-text-block"])
                assert serious == [] and passes > 0, (path, width)
                await page.emulate_media(color_scheme="light")


def test_dark_and_light_mode_differ_in_colours_only():
    for path in (Path(collector.pages.__file__).parent / "static").glob("*.css"):
        for block in path.read_text().split("prefers-color-scheme")[1:]:
            assert re.match(r": dark\) \{\s*:root \{[^{}]*\}\s*\}", block), path
            assert all(
                one.strip().startswith("--")
                for one in block[: block.index("}")].partition(":root {")[2].split(";")
                if one.strip()
            )


async def test_every_page_is_complete_without_scripts(client, make, browser):
    await a_bit_of_everything(client, make)
    async with browser(java_script_enabled=False) as page:
        for path in PAGES:
            assert (await page.goto(client.url + path)).status == 200
            assert await page.inner_text("h1") != ""
            assert not await page.is_visible("#link")  # it says nothing of being live
