"""A pod's page in a real browser: its timeline, lineage and forks are those that were sent, and names are only text."""

import pytest

from tests.collector.pages.browsing import SECOND, texts, until

pytestmark = pytest.mark.browser

HOSTILE = "\x01<b>\"\n\ufffd'"
SHOWN = "\\x01<b>\"\\n\ufffd'"
EVIL = '<img src=x onerror="document.title=1">\u202e'
ADDRESS = "/pods/shop/cart-1"


async def five_minutes(client, make, **attribution):
    """A pod that forks 10 a second, summed up every 10 s until now."""
    now = make.now
    await client.post(
        *(make.summary(n, 100 * n, now=100, end=now - (30 - n) * 10 * SECOND, **attribution) for n in range(1, 31))
    )


async def drawn(page, kind):
    """Start and end of each band of a kind in the first lane, in seconds since 1970, by its position."""
    return await page.evaluate(
        """kind => { const plot = document.querySelector('.plot'), over = plot.querySelector('.u-over').getBoundingClientRect();
        const [from, to] = [Number(plot.dataset.from), Number(plot.dataset.to)];
        const at = x => from + (x - over.left) / over.width * (to - from);
        return [...plot.querySelectorAll(`.band[data-kind=${kind}]`)].map(band => band.getBoundingClientRect())
          .map(box => [at(box.left), at(box.right)]).sort((a, b) => a[0] - b[0]) }""",
        kind,
    )


def close(found, wanted, tolerance=2.0):
    """Both are lists of starts and ends; a pixel is a second and a half."""
    return len(found) == len(wanted) and all(
        abs(a - b) <= tolerance for pair, other in zip(found, wanted, strict=True) for a, b in zip(pair, other, strict=True)
    )


async def test_the_page_shows_the_numbers_of_the_pod(client, make, browser):
    await client.post(
        *(make.fork(n, pid=9000 + n) for n in range(3)), make.summary(1, 1023, threads=7, now=50, end=make.now - 1)
    )
    async with browser() as page:
        await page.goto(client.url + ADDRESS)
        numbers = dict(zip(await texts(page, ".sums dt"), await texts(page, ".sums dd"), strict=True))
        assert (numbers["forks"], numbers["threads"], numbers["stored events"]) == ("1,023", "7", "3")
        assert numbers["rate now"] == "5.0/s"
        assert "since the last summary" in numbers
        rows = page.locator(".forktable tbody tr")
        assert await rows.locator("td:nth-of-type(4)").all_inner_texts() == ["9002 / 102", "9001 / 101", "9000 / 100"]
        await client.post(make.fork(3, pid=9003))
        await until(lambda: first_is(rows.locator("td:nth-of-type(4)"), "9003 / 103"))
        assert "node1" in await page.inner_text(".facts")
        assert "app=cart" in await texts(page, ".label")


async def first_is(locator, text):
    return await locator.first.inner_text() == text


@pytest.mark.parametrize("scripted", [True, False])
async def test_a_hostile_name_is_shown_as_text(client, make, scripted, browser):
    attribution = {"pod": EVIL, "namespace": "</script><b>"}
    fork = make.fork(1, comm=HOSTILE, container=EVIL, at=make.now - SECOND, **attribution)
    fork["k8s"]["labels"] = {EVIL: "'><script>document.title=1</script>"}
    begun = make.now - 60 * SECOND
    gap = make.gap(2, 2, "<b>", **attribution) | {"sink": EVIL, "missing": EVIL}
    away = make.node_gap(5, 5, "<b>") | {"missing": "sched_process_fork"}
    storm = make.storm(1, "stop", start=begun, end=make.now, processes=9, cgroup=4821, **attribution)
    node = make.node(1, heads={0: 9}, sinks={EVIL: make.sink(delivered=1, lost={EVIL: 3})})
    async with browser(java_script_enabled=scripted) as page:
        await page.goto(client.url)  # with a script, the row is then put in by it
        answer = await client.post(fork, make.summary(1, 9, container=EVIL, **attribution), node, gap, away, storm)
        assert answer["rejected"] == []
        if scripted:
            await page.wait_for_selector("tr.row")
        else:
            await page.reload()
        assert EVIL[:-1] + "\\u202e" in await page.inner_text("tr.row")
        await page.click("tr.row a.main")
        await page.wait_for_selector(".forktable tbody tr")
        assert await texts(page, ".forktable .comm") == [SHOWN, SHOWN]  # parent and child
        assert set(await texts(page, ".tree .comm")) == {SHOWN}
        assert EVIL[:-1] + "\\u202e" in await page.inner_text("h1")
        assert await page.locator("main img, main script, main h1 b, .forktable b").count() == 0
        assert "\\u202e" in await page.inner_text("#bands")
        for path in ("/ledger", "/nodes", "/search?from=-1h", "/nodes/node1"):
            await page.goto(client.url + path)
            assert await page.locator("main img, main script, main td b").count() == 0, path
            assert await page.title() != "1"


async def test_the_longest_names_break_no_page(client, make, browser):
    long, name = "W" * 253, "comm" * 16
    attribution = {"pod": long, "uid": "u" * 253, "namespace": long, "node": long, "container": long}
    forks = [make.fork(n, comm=name, at=make.now - SECOND, **attribution) for n in range(9)]
    for fork in forks:
        fork["container"]["image"], fork["cgroup"]["path"] = "i" * 1024, "/" + "p" * 4095
        fork["k8s"]["labels"] = {"l" * 317: long}
        fork["k8s"]["workload"] = {"kind": long, "name": long}
    summary = make.summary(1, 10**15, now=10**8, **attribution) | {"k8s": forks[0]["k8s"], "container": forks[0]["container"]}
    storm = make.storm(
        2**62, "stop", start=make.now - 10**10, end=make.now, processes=10**8, limit=2**62, pod=long, uid="u" * 253
    )
    storm["k8s"] = forks[0]["k8s"]
    gaps = [make.gap(1, 10**15, "W" * 60, **attribution), make.node_gap(1, 10**15, "W" * 60, node=long)]
    node = make.node(1, heads={0: 10**9}, node=long, sinks={"s" * 60: make.sink(5, lost={"r" * 60: 10**12})})
    assert (await client.post(*forks, summary, storm, *gaps, node))["rejected"] == []
    async with browser(390, 844) as page:
        await page.goto(client.url)
        hrefs = await page.evaluate("[...document.querySelectorAll('tr.row a')].map(link => link.href)")
        assert len(hrefs) >= 3
        for address in (client.url, *hrefs, client.url + "/nodes", client.url + "/ledger", client.url + "/search?from=-1h"):
            assert (await page.goto(address)).status == 200, address
            assert await page.evaluate("document.documentElement.scrollWidth") == 390, address


async def test_each_container_has_a_lane_with_the_same_numbers_in_its_table(client, make, browser):
    await five_minutes(client, make)
    await client.post(make.summary(1, 5, end=make.now, container="sidecar", cgroup=5000))
    async with browser() as page:
        await page.goto(client.url + ADDRESS)
        await page.wait_for_selector(".lane canvas")
        assert await texts(page, ".lane h3") == ["app", "sidecar"]
        assert await page.locator(".lane canvas").count() == 2
        counts = (
            "[...document.querySelectorAll('.lane:first-child tr[data-at] td:nth-of-type(1)')].map(cell => cell.textContent)"
        )
        known = [cell for cell in await page.evaluate(counts) if cell != "–"]  # noqa: RUF001
        assert sum(int(cell.replace(",", "")) for cell in known) == 3000
        green = """() => { const canvas = document.querySelector('.lane canvas'), ink = canvas.getContext('2d')
          .getImageData(0, 0, canvas.width, canvas.height).data; let count = 0;
          for (let i = 0; i < ink.length; i += 4) if (ink[i + 3] > 200 && ink[i + 1] > ink[i] + 40) count++; return count }"""
        assert await page.evaluate(green) > 200  # the line is there, in its colour
        await page.click(".lane:first-child summary")
        assert await page.is_visible(".lane:first-child .steps")


INK = """([r, g, b]) => { const canvas = document.querySelector('.lane canvas'), ink = canvas.getContext('2d')
  .getImageData(0, 0, canvas.width, canvas.height).data; let count = 0;
  for (let i = 0; i < ink.length; i += 4)
    if (ink[i + 3] > 200 && Math.abs(ink[i] - r) + Math.abs(ink[i + 1] - g) + Math.abs(ink[i + 2] - b) < 24) count++;
  return count }"""
THREADS = [47, 109, 156]  # the line's colour in light, --threads


async def test_threads_have_a_line_of_their_own_where_there_are_any(client, make, browser):
    await five_minutes(client, make)
    async with browser(color_scheme="light") as page:
        await page.goto(client.url + ADDRESS)
        await page.wait_for_selector(".lane canvas")
        assert await page.evaluate(INK, THREADS) == 0 and not await page.is_visible(".legend")
        now = make.now
        await client.post(
            *(
                make.summary(40 + n, 3100 + n, now=1, threads=900, end=now + (n + 1) * 10 * SECOND, seconds=10)
                for n in range(-8, 0)
            )
        )
        await page.reload()
        await page.wait_for_selector(".legend .threads")
        assert await page.evaluate(INK, THREADS) > 40
        assert "threads" in await page.get_attribute(".plot", "aria-label")
        rows = "[...document.querySelectorAll('.lane tr[data-at]')].map(row => row.dataset.threads).filter(Boolean).map(Number)"
        assert max(await page.evaluate(rows)) >= 90  # a second, out of the same table as people read


async def test_a_pod_with_a_kernel_of_its_own_has_no_drawing_and_no_counts(client, make, browser):
    of = {"pod": "vm-1", "cgroup": 901}
    gap = make.gap(0, None, "not_observable", pod="vm-1", cgroup=900) | {"container": None, "missing": "sched_process_fork"}
    await five_minutes(client, make, **of)
    receipt = await client.post(gap, make.fork(77, at=make.now - SECOND, pid=9077, comm="qemu", **of))
    assert receipt["rejected"] == []
    async with browser() as page:
        await page.goto(f"{client.url}/pods/shop/vm-1")
        assert "Not observable" in await page.inner_text("section[aria-labelledby=when]")
        assert await page.locator(".lane, .plot, .tree, .pairs").count() == 0
        numbers = dict(zip(await texts(page, ".sums dt"), await texts(page, ".sums dd"), strict=True))
        assert numbers.pop("missing") == "not observable"
        assert set(numbers.values()) == {"–", "–/s"}  # noqa: RUF001
        text = await page.inner_text("main")
        assert "3,000" not in text and "10/s" not in text
        assert await page.inner_text("#latest") == "Latest forks of its sandbox, on the node"
        assert await texts(page, ".forktable .comm") == ["qemu", "qemu"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_a_storm_is_drawn_at_its_time_and_listed_in_words(client, make, scheme, browser):
    await five_minutes(client, make)
    begin, end = make.now - 200 * SECOND, make.now - 150 * SECOND
    await client.post(make.storm(1, "stop", start=begin, end=end, processes=61240, cgroup=4821), make.fork(1))
    async with browser(color_scheme=scheme) as page:
        await page.goto(client.url + ADDRESS)
        await page.wait_for_selector(".band")
        assert close(await drawn(page, "storm"), [[begin / SECOND, end / SECOND]])
        assert await texts(page, ".plot .band") == ["storm"]  # by a word, too
        assert "gradient" in await page.evaluate("getComputedStyle(document.querySelector('.band')).backgroundImage")
        assert "Storm of 50 s: 61,240 forks, 61,240 of them only counted; the limit is 2,000 a second" in await page.inner_text(
            "#bands"
        )
        assert await page.inner_text("h1 .mark") == "1 storm"
        now = make.now
        await client.post(
            make.storm(2, "start", start=now - 20 * SECOND, end=now - 19 * SECOND, processes=2500, cgroup=4821), make.fork(2)
        )
        await page.wait_for_selector(".storming")
        assert await page.inner_text("h1 .mark") == "in a storm"
        await until(lambda: is_count(page, ".plot .band[data-kind=storm]", 2))
        assert await page.inner_text("#announcement") == "shop/cart-1: in a storm"


async def is_count(page, selector, count):
    return await page.locator(selector).count() == count


async def test_a_gap_is_drawn_at_its_time_and_gaps_of_the_node_are_drawn_differently(client, make, browser):
    def ago(seconds):
        return make.now - seconds * SECOND

    await five_minutes(client, make)
    await client.post(
        make.node(1, heads={0: 0}),  # its only sink is this one
        make.gap(45, 40, end=ago(100), seconds=30),
        make.gap(7, 7, "journal_full", sink="collector", end=ago(250), seconds=10),
        make.gap(9, 9, "journal_full", sink="siem", end=ago(60)),
        make.gap(5, 5, end=ago(5000)),
        make.node_gap(700, 700, end=ago(20), seconds=15),
    )
    async with browser() as page:
        await page.goto(client.url + ADDRESS)
        await page.wait_for_selector(".band", state="attached")
        gaps = [[ago(260) / SECOND, ago(250) / SECOND], [ago(130) / SECOND, ago(100) / SECOND]]
        assert close(await drawn(page, "gap"), gaps)
        assert close(await drawn(page, "node"), [[ago(35) / SECOND, ago(20) / SECOND]])
        assert [text.split(" 20")[0] for text in await texts(page, "#bands li > span:last-child")] == [
            "700 forks missing: restart, of the whole node node1; their pods are not known",
            "9 forks missing: journal full, on the way to siem",
            "40 forks missing: ring full",
            "7 forks missing: journal full, on the way to collector",
        ]
        assert await page.inner_text(".bandlist > p") == "1 more outside this range"
        styles = "[...document.querySelectorAll('.plot .band')].map(band => getComputedStyle(band).borderLeftStyle)"
        assert set(await page.evaluate(styles)) == {"dashed", "dotted"}  # not by colour alone
        assert await texts(page, ".sums .badge") == ["7 journal full", "45 ring full", "9 missing at siem"]


async def test_the_lineage_shows_who_forked_whom(client, make, browser):
    def fork(number, entity, parent, comm, pid, parent_pid):
        event = make.fork(number, comm=comm, pid=pid, at=make.now - (20 - number) * SECOND)
        return event | {"process_entity_id": entity * 16, "parent_entity_id": parent * 16, "parent_pid": parent_pid}

    await client.post(
        fork(1, "b", "a", "entry", 200, 100),
        fork(2, "c", "b", "cron", 300, 200),
        *(fork(3 + n, str(n), "c", "job", 400 + n, 300) for n in range(4)),
        make.summary(1, 6),
    )
    async with browser() as page:
        await page.goto(client.url + ADDRESS)
        rows = page.locator(".tree tbody tr")
        assert [text.split() for text in await rows.locator("th").all_inner_texts()] == [
            ["level", "0", "entry"],  # it was there before, and is known by its child
            ["level", "1", "cron"],
            ["level", "2", "job"],
            ["level", "3", "job", "×", "4"],  # noqa: RUF001
        ]
        assert await rows.locator("td:nth-of-type(1)").all_inner_texts() == ["100", "200", "300", "400 … 403"]
        assert await rows.locator("td:nth-of-type(4)").all_inner_texts() == ["6", "5", "4", ""]
        text = await page.inner_text("section[aria-labelledby=lineage] .sheethead p")
        assert text == "6 processes, 3 deep, at most 4 children of one process"
        await page.click(".tree tbody tr:nth-of-type(2) a")
        await page.wait_for_selector("h1:has-text('Search')")
        assert await page.input_value("input[name=entity]") == "b" * 16
        assert await page.locator(".forktable tbody tr").count() == 2  # its own fork and the one that it forked


async def test_a_long_lineage_scrolls_in_its_box_and_does_not_lengthen_the_page(client, make, browser):
    def fork(number):
        event = make.fork(number, comm=f"job{number}", at=make.now - (100 - number) * SECOND)
        return event | {"process_entity_id": f"{number:016x}", "parent_entity_id": "a" * 16}

    await client.post(*map(fork, range(90)))
    async with browser() as page:
        await page.goto(client.url + ADDRESS)
        assert await page.locator(".tree tbody tr").count() > 80
        high = "[document.documentElement.scrollHeight, document.querySelector('.foot').getBoundingClientRect().bottom]"
        whole, last = await page.evaluate(high)
        assert whole <= max(900, last + 40)


async def test_the_range_is_in_the_address_and_a_wrong_one_gets_an_error(client, make, browser):
    await five_minutes(client, make)
    async with browser() as page:
        await page.goto(client.url + ADDRESS)
        await page.click(".range a:text-is('1 h')")
        await page.wait_for_selector(".range a[aria-current=true]:text-is('1 h')")
        assert page.url == f"{client.url}{ADDRESS}?from=-1h"
        assert "in steps of 30 s" in await page.inner_text(".rangesaid")
        await page.fill("input[name=from]", "yesterday")
        await page.click("button:text-is('Show')")
        await page.wait_for_selector("main [role=alert]")
        assert "yesterday" in await page.inner_text("main [role=alert]")
        await page.reload()
        assert await page.input_value("input[name=from]") == "yesterday"


async def test_an_older_pod_of_the_name_keeps_its_own_page(client, make, browser):
    await client.post(make.summary(1, 5, uid="one", end=make.now - 100 * SECOND))
    await client.post(make.summary(1, 8, uid="two", cgroup=9))
    async with browser() as page:
        await page.goto(client.url + ADDRESS)
        assert "8" in await texts(page, ".sums dd")
        await page.click(".others a:has-text('one')")
        await page.wait_for_selector("dd:text-is('5')")
        assert "pod_uid=one" in page.url
        assert await texts(page, ".others a") == ["two"]
        assert "newer, on node1" in await page.inner_text(".others li")
        for choice in ("a:text-is('6 h')", "button:text-is('Show')"):  # whatever is chosen, it stays this one
            await page.click(choice)
            await until(lambda: first_is(page.locator(".range a[aria-current=true]"), "6 h"))
            assert all(word in page.url for word in ("pod_uid=one", "cluster=demo", "from=-6h"))
        assert "5" in await texts(page, ".sums dd") and "8" not in await texts(page, ".sums dd")
        await page.goto(client.url)
        links = await page.evaluate("[...document.querySelectorAll('tr.row a.main')].map(link => link.getAttribute('href'))")
        assert sorted(link.partition("pod_uid=")[2] for link in links) == ["one", "two"]


async def test_an_unknown_pod_gets_a_page_of_its_own(client, browser):
    async with browser() as page:
        answer = await page.goto(client.url + "/pods/no/such")
        assert answer.status == 404
        assert "no such pod" in await page.inner_text("main")
        page.complaints.clear()  # the browser itself logs the 404
