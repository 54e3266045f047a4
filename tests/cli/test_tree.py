"""`forklore tree`: lineage as lines, and how it ends."""

import asyncio
import contextlib

import orjson
import pytest
import trustme
from aiohttp import web

from cli.client.json_view import Said
from cli.text.pieces import plain
from cli.text.tree_lines import heading, lineage

from .answers import HOSTILE, node, tree
from .running import harmless, ran, started
from .standing_in import standing_in

PATH = "/v1/pods/shop/cart-1/tree"


def lines(told, **how):
    return [plain(line) for line in lineage(Said(told), **how)]


def test_a_tree_is_indented_with_counts_and_both_pids():
    grown = tree(node(6039, children=[node(7001, children=[node(7003, "sleep")]), node(7002, "date")], seen=False))
    assert plain(heading(Said(grown))) == (
        "4 processes forked from 2026-11-22 18:48:30 to 19:48:30 UTC; 2 deep, at most 3 out of one"
    )
    assert lines(grown) == [
        "sh 6039/39  forked before  in app  2 forks, 3 below",
        "├─ sh 7001/1001  19:48:41.118  1 fork",
        "│  └─ sleep 7003/1003  19:48:43.118",
        "└─ date 7002/1002  19:48:42.118",
    ]
    assert [line[:3] for line in lines(grown, drawn=False)] == ["sh ", "|- ", "|  ", "`- "]


def test_many_that_are_alike_are_one_line_that_says_how_many():
    sleeps = [node(7000 + one, "sleep") for one in range(5)]
    grown = tree(node(6039, children=[node(6990, "date"), *sleeps, node(7010, "sleep", children=[node(7011, "sh")])]))
    assert lines(grown)[1:] == [
        "├─ date 6990/990  19:48:30.118",
        "├─ 5 times sleep 7000 to 7004  19:48:40.118 to 19:48:44.118",
        "└─ sleep 7010/1010  19:48:50.118  1 fork",
        "   └─ sh 7011/1011  19:48:51.118",
    ]
    assert len(lines(grown, fold=False)) == 9


def test_another_container_and_what_is_too_deep_are_said():
    grown = tree(node(6039, children=[node(7001, container="side"), node(7002, hidden=57, forks=1)]))
    assert lines(grown)[1:] == [
        "├─ sh 7001/1001  19:48:41.118  in side",
        "└─ sh 7002/1002  19:48:42.118  1 fork, 57 below",
        "   └─ 57 more, too deep to be told",
    ]


def test_a_chain_as_long_as_it_likes_is_told_and_keeps_its_width():
    chain = node(9000)
    for pid in range(8999, 5000, -1):
        chain = node(pid, children=[chain])
    told = lines(tree(chain))
    assert len(told) == 4000
    assert max(map(len, told)) < 140
    assert told[3000].startswith("…3000 ")


async def test_the_command_asks_what_it_is_told_to_and_prints_what_it_gets(collector, forklore):
    collector.answers[PATH] = tree(node(6039, children=[node(7001)]), cut=True)
    ended = await forklore("tree", "shop/cart-1", "--from", "-15m", "--to", "now", "--limit", "2", "--cluster", "demo")
    assert ended.code == 0
    assert ended.lines[1:] == ["sh 6039/39  19:48:39.118  in app  1 fork", "└─ sh 7001/1001  19:48:41.118"]
    assert "--limit" in ended.err
    (asked,) = collector.asked
    assert dict(asked.query) == {"from": "-15m", "to": "now", "limit": "2", "cluster": "demo"}
    assert asked.headers["User-Agent"].startswith("forklore/") and "Authorization" not in asked.headers


async def test_json_is_what_the_collector_said_in_one_line(collector, forklore):
    collector.answers[PATH] = tree(node(6039, "\x9b31m\u202e"))
    ended = await forklore("tree", "shop/cart-1", "--json")
    (line,) = ended.lines
    assert orjson.loads(line) == collector.answers[PATH]
    assert harmless(line)


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_names_come_out_escaped(collector, forklore, name):
    collector.answers[PATH] = tree(node(6039, name, children=[node(7001, name, container=name)]))
    ended = await forklore("tree", "shop/cart-1")
    assert ended.code == 0
    assert len(ended.lines) == 3 and harmless(ended.out)


async def test_a_hostile_pod_s_name_stays_one_segment_of_the_path(collector, forklore):
    ended = await forklore("tree", "shop?a=b/x y#z%2f\x1b")
    assert ended.code == 76
    assert collector.asked[0].raw_path == "/v1/pods/shop%3Fa%3Db/x%20y%23z%252f%1B/tree"


async def test_a_terminal_without_utf_8_gets_lines_of_ascii(collector, forklore):
    collector.answers[PATH] = tree(node(6039, "é", children=[node(7001)]))
    ended = await forklore("tree", "shop/cart-1", PYTHONIOENCODING="ascii")
    assert ended.code == 0
    assert ended.out.isascii() and "`- " in ended.out and "\\xe9" in ended.out


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        ((404, {"error": "no pod of that name has been heard of"}), 66, "no pod of that name"),
        ((404, {"error": "Not Found"}), 76, "older one"),
        ((401, {"error": "a token is wanted"}), 77, "--token-file"),
        ((403, {"error": "no"}), 77, "does not let"),
        ((400, {"error": "from: '\x1b[2J' is no time"}), 2, "from: '\\x1b[2J' is no time"),
        ((429, {"error": "too many questions"}), 69, "429: too many questions"),
        ((503, {"error": "the store does not answer"}), 69, "the store does not answer"),
        ((302, {}), 77, "sends us elsewhere"),
        ((418, {}), 76, "is it a collector"),
        (lambda _: web.Response(text="<html>"), 76, "is it a collector"),
    ],
)
async def test_what_goes_wrong_has_its_sentence_and_its_code(collector, forklore, answer, code, words):
    collector.answers[PATH] = answer
    ended = await forklore("tree", "shop/cart-1")
    assert ended.code == code
    assert ended.out == "" and ended.err.startswith("forklore tree: ") and words in ended.err
    assert ended.err.count("\n") == 1 and harmless(ended.err)


async def test_others_of_the_name_are_told_of_unless_one_was_named(collector, forklore):
    collector.answers[PATH] = tree(node(7001)) | {"cluster": "de\x1bmo", "pod_uid": "uid-2", "others": 3}
    ended = await forklore("tree", "shop/cart-1", "--cluster", "de")
    assert ended.code == 0 and "3 more of that name: this is --pod-uid uid-2, cluster de\\x1bmo" in ended.err
    assert dict(collector.asked[0].query) == {"cluster": "de"}
    assert (await forklore("tree", "shop/cart-1", "--pod-uid", "uid-2")).err == ""


async def test_the_tree_of_a_pod_that_no_one_sees_into_says_whose_it_is(collector, forklore):
    collector.answers[PATH] = tree(node(7001)) | {"observable": False}
    assert "of its sandbox: the pod has a kernel of its own" in (await forklore("tree", "shop/cart-1")).lines[0]


async def test_answers_of_the_wrong_shape_are_no_crash(collector, forklore):
    for answer in ([], {}, {"roots": [{}]}, {"roots": {"a": 1}}, {"roots": [1, None], "processes": "x"}, None, 7):
        collector.answers[PATH] = answer
        ended = await forklore("tree", "shop/cart-1")
        assert ended.code == 0 and "Traceback" not in ended.err, answer


async def test_no_collector_is_said_with_its_address():
    ended = await ran(None, "tree", "shop/cart-1")
    assert ended.code == 69
    assert ended.err == "forklore tree: no collector answers at http://127.0.0.1:9: connection refused\n"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["cart-1"], 2, "NAMESPACE/POD"),
        (["a/b/c"], 2, "NAMESPACE/POD"),
        (["shop/cart-1", "--from", "yesterday"], 2, "yesterday is no time"),
        (["shop/cart-1", "--collector", "ftp://x"], 78, "--collector is 'ftp://x'"),
        (["shop/cart-1", "--token-file", "/nowhere"], 78, "/nowhere: No such file"),
        (["shop/cart-1", "--ca-file", "/nowhere"], 78, "/nowhere: No such file"),
        (["shop/cart-1", "--ca-file", "/etc/hostname"], 78, "no certificate in it"),
        (["shop/cart-1", "--token-file", "/dev/null"], 78, "no token in it"),
    ],
)
async def test_what_is_told_wrong_is_said_before_anyone_is_asked(collector, forklore, arguments, code, words):
    ended = await forklore("tree", *arguments)
    assert (ended.code, words in ended.err, collector.asked) == (code, True, []), ended.err


async def test_a_token_is_shown_from_its_file_s_first_line(collector, forklore, tmp_path):
    file = tmp_path / "token"
    file.write_text("right-token\nanother\n")
    collector.answers[PATH] = tree()
    assert (await forklore("tree", "shop/cart-1", FORKLORE_TOKEN_FILE=str(file))).code == 0
    assert collector.asked[0].headers["Authorization"] == "Bearer right-token"


async def test_help_tells_the_exit_codes(forklore):
    for command in ("top", "tree", "tail"):
        ended = await forklore(command, "--help")
        assert ended.code == 0 and "66 no such pod" in ended.out and "FORKLORE_COLLECTOR" in ended.out


async def test_what_takes_over_a_second_is_told_of(collector, forklore):
    async def slow():
        await asyncio.sleep(1.3)
        return tree()

    collector.answers[PATH] = lambda _: slow()
    ended = await forklore("tree", "shop/cart-1")
    assert ended.code == 0 and ended.err == f"asking {collector.url} ...\n"
    collector.answers[PATH] = tree()
    assert (await forklore("tree", "shop/cart-1")).err == ""


async def test_a_reader_who_leaves_ends_it_quietly(collector):
    collector.answers[PATH] = tree(*(node(pid, f"c{pid}") for pid in range(7000, 27000)))
    async with started(collector, "tree", "shop/cart-1") as process:
        assert (await process.stdout.readline()).startswith(b"20,000 processes")
        process.stdout._transport.close()  # as `head -1` does
        assert (await process.wait(), await process.stderr.read()) == (0, b"")


async def test_a_full_disk_is_said(collector):
    collector.answers[PATH] = tree(node(7001))
    with open("/dev/full", "wb") as full:  # noqa: ASYNC230, PTH123
        async with started(collector, "tree", "shop/cart-1", stdout=full) as process:
            _, err = await process.communicate()
    assert (process.returncode, err) == (74, b"forklore tree: the output can't be written: No space left on device\n")


async def test_nobody_is_followed_elsewhere_with_a_token(collector, forklore, tmp_path):
    file = tmp_path / "token"
    file.write_text("right-token\n")
    collector.answers[PATH] = lambda _: web.Response(status=302, headers={"Location": f"{collector.url}/signin"})
    ended = await forklore("tree", "shop/cart-1", "--token-file", str(file))
    assert ended.code == 77 and "sends us elsewhere" in ended.err
    assert [asked.path for asked in collector.asked] == [PATH]


async def test_an_answer_without_an_end_is_not_kept(collector, forklore):
    async def endless(request):
        response = web.StreamResponse()
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            for _ in range(1000):
                await response.write(b" " * (1 << 20))
        return response

    collector.answers[PATH] = endless
    ended = await forklore("tree", "shop/cart-1")
    assert ended.code == 76 and "over 64 MiB" in ended.err


async def test_a_certificate_is_checked_and_who_vouches_for_it_can_be_named(tmp_path):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    async with standing_in(tls=authority.issue_cert("127.0.0.1")) as collector:
        collector.answers[PATH] = tree()
        ended = await ran(collector, "tree", "shop/cart-1")
        assert ended.code == 69 and "not trusted" in ended.err and "--ca-file" in ended.err
        assert (await ran(collector, "tree", "shop/cart-1", "--ca-file", str(tmp_path / "ca.pem"))).code == 0
        plain_url = collector.url.replace("https", "http")
        assert (await ran(collector, "tree", "shop/cart-1", "--collector", plain_url)).code in (69, 76)
