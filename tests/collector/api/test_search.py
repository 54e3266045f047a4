"""Queries about pods and forks: every filter, pages of results, and an error text for every invalid parameter."""

from urllib.parse import quote

import pytest
import pytest_asyncio

SECOND = 1_000_000_000
HOSTILE = ["<script>alert(1)</script>", "a'b\"c; DROP TABLE fork; --", "x\n\r\t\x1b[31m", "ü\u202e%00 _%\\", "=1+1", "{a:1}"]


@pytest_asyncio.fixture(loop_scope="session")
async def few(running, make):
    """Three forks of two pods, one of them a thread's, a second apart; the newest first by name: c, b, a."""
    async with running() as client:
        now = make.now - 60 * SECOND
        first = make.fork(1, at=now, comm="sh", pod="cart-1", cgroup=1)
        first.update(process_entity_id="a" * 16, parent_entity_id="f" * 16, parent_pid=11, parent_ns_pid=12, parent_comm="make")
        second = make.fork(2, at=now + SECOND, comm="cc1", pod="cart-1", cgroup=3, kind="thread", node="node2")
        second.update(process_entity_id="b" * 16, parent_entity_id="a" * 16)
        third = make.fork(3, at=now + 2 * SECOND, comm="sh", pod="web-1", cgroup=2, namespace="front", container="proxy")
        third["k8s"].update(labels={"app": "web", "odd/key": "a=b"}, workload={"kind": "StatefulSet", "name": "web"})
        await client.post(first, second, third)
        yield client


async def found(client, query=""):
    answer = await client.get(f"/v1/forks?{query}")
    return "".join({1: "a", 2: "b", 3: "c"}[int(fork["id"].rpartition(".")[2])] for fork in answer["forks"])


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", "cba"),
        ("namespace=shop", "ba"),
        ("pod=web-1", "c"),
        ("pod_uid=uid-of-cart-1", "ba"),
        ("node=node2", "b"),
        ("cluster=demo", "cba"),
        ("cluster=prod", ""),
        ("workload=StatefulSet/web", "c"),
        ("workload=cart", "ba"),
        ("label=app=web", "c"),
        ("label=app=web&label=odd/key=a%3Db", "c"),
        ("label=app=web&label=app=cart", ""),
        ("text=FRONT", "c"),
        ("text=proxy", "c"),
        ("comm=sh", "ca"),
        ("parent_comm=make", "a"),
        ("kind=thread", "b"),
        ("kind=process", "ca"),
        ("pid=7002", "b"),
        ("pid=101", "a"),
        ("pid=11", "a"),
        ("pid=12", "a"),
        ("pid=99999", ""),
        ("entity=" + "a" * 16, "ba"),
        ("entity=" + "f" * 16, "a"),
        ("from=-5s", ""),
        ("from=-2h&to=-61m", ""),
        ("from=now-2h&to=now", "cba"),
        ("from=1970-01-01T00:00:00Z&to=2261-12-31T23:59:59.999999999Z", "cba"),
        ("comm=sh&namespace=shop", "a"),
    ],
)
async def test_every_filter_finds_its_forks_and_no_other(few, query, expected):
    assert await found(few, query) == expected


async def test_a_fork_comes_back_as_it_was_sent(running, make):
    async with running() as client:
        sent = make.fork(1)
        await client.post(sent)
        assert (await client.get("/v1/forks"))["forks"] == [sent]


async def test_times_may_have_an_offset_and_are_exact_to_the_nanosecond(running, make):
    async with running() as client:
        await client.post(make.fork(1, at=1_700_000_000_000_000_005))
        for query, count in (
            ("from=2023-11-14T22:13:20.000000005Z&to=2023-11-14T22:13:20.000000006Z", 1),
            ("from=2023-11-14T22:13:20.000000006Z&to=2023-11-14T22:14:20Z", 0),
            ("from=2023-11-14T22:13:20Z&to=2023-11-14T22:13:20.000000005Z", 0),
            ("from=2023-11-15T00:13:20%2B02:00&to=2023-11-15T00:13:21%2B02:00", 1),
        ):
            assert len((await client.get(f"/v1/forks?{query}"))["forks"]) == count


@pytest.mark.parametrize("limit", [1, 3, 7, 10, 11])
async def test_pages_join_into_all_without_a_fork_twice_or_missing(running, make, limit):
    async with running() as client:
        # Many at the same moment, on two CPUs: the cursor must tell them apart.
        forks = [make.fork(n, cpu=n % 2, at=make.now - 10**9 + n // 5) for n in range(10)]
        await client.post(*forks)
        seen, after, pages = [], "", 0
        while True:
            answer = await client.get(f"/v1/forks?limit={limit}{after}")
            assert len(answer["forks"]) <= limit
            seen += [fork["id"] for fork in answer["forks"]]
            pages += 1
            if answer["next"] is None:
                break
            after = "&after=" + quote(answer["next"])
            await client.post(make.fork(100 + pages, at=make.now - 10**8 + pages))  # a newer one moves no page
        assert sorted(seen) == sorted(fork["id"] for fork in forks)
        assert pages == -(-10 // limit)


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_names_are_found_exactly(running, make, name):
    async with running() as client:
        await client.post(make.fork(1, comm=name, pod=name, namespace=name), make.fork(2, comm="sh", pod="other", cgroup=2))
        for key in ("comm", "pod", "namespace", "text"):
            (fork,) = (await client.get(f"/v1/forks?{key}={quote(name, safe='')}"))["forks"]
            assert (fork["comm"], fork["k8s"]["pod"]) == (name, name)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("form=now", "'form' is no parameter here; there are cluster, namespace"),
        ("%0d%0aSet-Cookie:=1", r"'\r\nSet-Cookie:' is no parameter"),
        ("comm=a&comm=b", "comm is given twice"),
        ("from=yesterday", "from: 'yesterday' is no time; right would be now, -15m, or 2026-11-22T19:48:30Z"),
        ("from=15m", "from: '15m' is no time"),
        ("from=-15", "from: '-15' is no time"),
        ("to=2026-02-30T00:00:00Z", "to: '2026-02-30T00:00:00Z' is no time"),
        ("to=2026-02-20T00:00:00", "is no time"),
        ("to=2026-02-20T00:00:00+02:00", "a plus is written %2B"),
        ("to=2262-12-31T00:00:00Z", "is no time"),
        ("to=1969-12-31T00:00:00Z", "is no time"),
        ("from=now&to=-1h", "from: is not before to"),
        ("from=", "from: '' is no time"),
        ("pid=0", "pid: '0' is not a whole number from 1 to 2147483647"),
        ("pid=-1", "pid"),
        ("pid=%C2%B2", "pid"),
        ("pid=99999999999999999999999", "pid"),
        ("limit=1001", "limit: '1001' is not a whole number from 1 to 1000"),
        ("limit=0", "limit"),
        ("kind=fibre", "kind: 'fibre' is none of process, thread"),
        ("entity=ABCDEF0123456789", "entity"),
        ("entity=12", "entity: '12' is not 16 hex digits"),
        ("format=xml", "format: 'xml' is none of json, ndjson, csv"),
        ("label=app", "label: 'app' is not a key and a value, such as label=app=cart"),
        ("label==x", "label"),
        ("&".join(["label=a=b"] * 17), "label: 17 of them"),
        ("after=17", "after: '17' is no cursor"),
        ("after=1.0ac846b9-54b9-46db-ad41-e0a5f64de594.9f3c51d2a7e04b68.0.01", "after"),
        ("after=x.0ac846b9-54b9-46db-ad41-e0a5f64de594.9f3c51d2a7e04b68.0.1", "after"),
        ("pod=a%00b", "pod: 'a\\x00b' is not text"),
        ("pod=" + "x" * 318, "pod"),
        ("format=csv&limit=1000001", "limit: '1000001' is not a whole number from 1 to 1000000"),
    ],
)
async def test_an_invalid_parameter_gets_its_name_and_what_would_be_right(running, query, expected):
    async with running() as client:
        answer = await client.get(f"/v1/forks?{query}", status=400)
        assert expected in answer["error"] and answer["error"].isascii()


@pytest.mark.parametrize(
    ("path", "known"),
    [
        ("/v1/pods", "limit"),
        ("/v1/pods/shop/cart-1", "limit"),
        ("/v1/pods/shop/cart-1/tree", "from, to, limit"),
        ("/v1/pods/shop/cart-1/timeline", "from, to, step"),
        ("/v1/ledger", "there are none"),
        ("/v1/stream", "events"),
    ],
)
async def test_no_endpoint_accepts_an_unknown_parameter(few, path, known):
    error = (await few.get(f"{path}?surprise=1", status=400))["error"]
    assert error.startswith("'surprise' is no parameter here") and known in error


@pytest.mark.parametrize(
    ("query", "pods"),
    [
        ("", {"cart-1", "web-1"}),
        ("namespace=front", {"web-1"}),
        ("label=app=web", {"web-1"}),
        ("workload=cart", {"cart-1"}),
        ("text=WEB", {"web-1"}),
        ("cluster=none", set()),
    ],
)
async def test_pods_are_filtered_by_the_same_parameters(few, query, pods):
    assert {pod["pod"] for pod in (await few.get(f"/v1/pods?{query}"))["pods"]} == pods


async def test_a_tree_shows_who_forked_whom_and_an_older_parent_by_name(few):
    tree = await few.get("/v1/pods/shop/cart-1/tree?from=-5m")
    (root,) = tree["roots"]
    assert (root["entity"], root["comm"], root["pid"], root["ns_pid"], root["seen"]) == ("f" * 16, "make", 11, 12, False)
    assert [child["entity"] for child in root["children"]] == ["a" * 16]
    assert (tree["depth"], tree["fan_out"], tree["cut"]) == (1, 1, False)
    assert sum(pair["forks"] for pair in tree["pairs"] if pair["parent"] == "make") == 1


async def test_a_cut_tree_says_so_and_keeps_the_newest(running, make):
    async with running() as client:
        forks = [make.fork(n, at=make.now - 10**9 + n) for n in range(6)]
        for n, fork in enumerate(forks):
            fork.update(process_entity_id=f"{n:016x}", parent_entity_id="f" * 16)
        await client.post(*forks)
        tree = await client.get("/v1/pods/shop/cart-1/tree?limit=2")
        assert tree["cut"] and [child["ns_pid"] for child in tree["roots"][0]["children"]] == [104, 105]
        assert not (await client.get("/v1/pods/shop/cart-1/tree?limit=6"))["cut"]


@pytest.mark.parametrize("part", ["", "/tree", "/timeline"])
async def test_each_pod_of_a_name_can_be_selected_by_uid_and_cluster(running, make, part):
    """Two pods of one name, one after the other, in one cluster, and the newest of all in another cluster."""
    async with running() as client:
        lives = [("demo", "old", 100, 1), ("demo", "new", 50, 2), ("other", "far", 10, 3)]
        for cluster, uid, ago, number in lives:
            at = make.now - ago * SECOND
            events = [
                make.fork(number, uid=uid, cgroup=number, at=at),
                make.summary(1, 10 * number, uid=uid, cgroup=number, end=at),
            ]
            for event in events:
                event["k8s"]["cluster"] = cluster
                event["id"] = event["id"].replace(make.stream, f"{make.stream[:-1]}{number}")
            assert (await client.post(*events))["accepted"] == 2
        path = f"/v1/pods/shop/cart-1{part}"
        queries = {
            "": 3,
            "cluster=demo": 2,
            "cluster=demo&pod_uid=old": 1,
            "pod_uid=new": 2,
            "pod_uid=far": 3,
            "cluster=other": 3,
        }
        for query, number in queries.items():
            answer = await client.get(f"{path}?{query}")
            assert (answer["cluster"], answer["pod_uid"]) == lives[number - 1][:2], query
            if part == "/tree":
                assert answer["processes"] == 1 and answer["others"] == 2
            elif part == "/timeline":
                assert sum(filter(None, answer["totals"]["processes"])) == 10 * number and answer["others"] == 2
            else:
                assert answer["processes"] == 10 * number
                others = {(other["cluster"], other["pod_uid"]) for other in answer["others"]}
                assert others == {life[:2] for life in lives} - {lives[number - 1][:2]}
        for query in ("cluster=none", "pod_uid=none", "cluster=other&pod_uid=old"):
            assert "of that cluster and uid" in (await client.get(f"{path}?{query}", status=404))["error"]
        assert "uid" not in (await client.get(f"/v1/pods/shop/cart-2{part}", status=404))["error"]
        assert "pod_uid" in (await client.get(f"{path}?uid=old", status=400))["error"]


async def test_a_timeline_has_the_exact_sums_and_the_storms_and_gaps_of_its_range(running, make):
    async with running() as client:
        end = make.now // (10 * SECOND) * 10 * SECOND
        await client.post(
            make.summary(1, 5, end=end - 60 * SECOND, now=5, threads=1),
            make.summary(2, 45, end=end - 20 * SECOND, now=40, lost=7),
            make.storm(1, "stop", start=end - 40 * SECOND, end=end - 30 * SECOND, processes=900),
            make.storm(2, "stop", start=end - 4000 * SECOND, end=end - 3990 * SECOND, processes=900),
            make.gap(7, 7, end=end - 20 * SECOND),
            make.gap(8, 1, end=end - 7000 * SECOND),
        )
        timeline = await client.get("/v1/pods/shop/cart-1/timeline?from=-2m&step=10s")
        (line,) = timeline["containers"]
        assert (line["name"], timeline["step_s"]) == ("app", 10)
        known = [count for count in line["processes"] if count is not None]
        assert known == [5, 40] and [n for n in line["lost"] if n is not None] == [0, 7]
        assert timeline["totals"]["processes"] == line["processes"] and len(line["processes"]) in (12, 13)
        assert [storm["storm"] for storm in timeline["storms"]] == [1]
        assert [gap["count"] for gap in timeline["gaps"]] == [7]


async def test_a_step_too_short_for_its_range_is_refused(few):
    for query in ("from=-7d&step=1s", "step=10ms", "step=0s", "step=1"):
        assert "step: " in (await few.get(f"/v1/pods/shop/cart-1/timeline?{query}", status=400))["error"]
