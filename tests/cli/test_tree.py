"""`forklore tree`: the tree as lines, its errors and exit codes."""

import asyncio
import contextlib

import orjson
import pytest
import trustme
from aiohttp import web

from cli.client.json_view import JsonView
from cli.text.pieces import plain
from cli.text.tree_lines import heading, tree_lines

from .answers import HOSTILE, node, tree
from .fake_collector import running_fake_collector
from .processes import is_harmless, run_forklore, start_forklore

PATH = "/v1/pods/shop/cart-1/tree"


def lines(answer, **options):
    return [plain(line) for line in tree_lines(JsonView(answer), **options)]


def test_a_tree_is_indented_with_counts_and_both_pids():
    grown = tree(node(6039, children=[node(7001, children=[node(7003, "sleep")]), node(7002, "date")], seen=False))
    assert plain(heading(JsonView(grown))) == (
        "4 processes forked from 2026-11-22 18:48:30 to 19:48:30 UTC; 2 deep, at most 3 children of one process"
    )
    assert lines(grown) == [
        "sh 6039/39  forked before  in app  2 forks, 3 below",
        "├─ sh 7001/1001  19:48:41.118  1 fork",
        "│  └─ sleep 7003/1003  19:48:43.118",
        "└─ date 7002/1002  19:48:42.118",
    ]
    assert [line[:3] for line in lines(grown, line_drawing=False)] == ["sh ", "|- ", "|  ", "`- "]


def test_similar_siblings_share_a_line_with_their_number():
    sleeps = [node(7000 + one, "sleep") for one in range(5)]
    grown = tree(node(6039, children=[node(6990, "date"), *sleeps, node(7010, "sleep", children=[node(7011, "sh")])]))
    assert lines(grown)[1:] == [
        "├─ date 6990/990  19:48:30.118",
        "├─ 5 times sleep 7000 to 7004  19:48:40.118 to 19:48:44.118",
        "└─ sleep 7010/1010  19:48:50.118  1 fork",
        "   └─ sh 7011/1011  19:48:51.118",
    ]
    assert len(lines(grown, fold=False)) == 9


def test_another_container_and_a_cut_depth_are_shown():
    grown = tree(node(6039, children=[node(7001, container="side"), node(7002, hidden=57, forks=1)]))
    assert lines(grown)[1:] == [
        "├─ sh 7001/1001  19:48:41.118  in side",
        "└─ sh 7002/1002  19:48:42.118  1 fork, 57 below",
        "   └─ 57 more, too deep to be shown",
    ]


def test_a_chain_of_any_length_is_shown_with_a_bounded_width():
    chain = node(9000)
    for pid in range(8999, 5000, -1):
        chain = node(pid, children=[chain])
    shown = lines(tree(chain))
    assert len(shown) == 4000
    assert max(map(len, shown)) < 140
    assert shown[3000].startswith("…3000 ")


async def test_the_command_sends_its_options_and_prints_the_answer(collector, forklore):
    collector.answers[PATH] = tree(node(6039, children=[node(7001)]), cut=True)
    result = await forklore("tree", "shop/cart-1", "--from", "-15m", "--to", "now", "--limit", "2", "--cluster", "demo")
    assert result.code == 0
    assert result.lines[1:] == ["sh 6039/39  19:48:39.118  in app  1 fork", "└─ sh 7001/1001  19:48:41.118"]
    assert "--limit" in result.err
    (request,) = collector.requests
    assert dict(request.query) == {"from": "-15m", "to": "now", "limit": "2", "cluster": "demo"}
    assert request.headers["User-Agent"].startswith("forklore/") and "Authorization" not in request.headers


async def test_with_json_it_prints_the_answer_in_one_line(collector, forklore):
    collector.answers[PATH] = tree(node(6039, "\x9b31m\u202e"))
    result = await forklore("tree", "shop/cart-1", "--json")
    (line,) = result.lines
    assert orjson.loads(line) == collector.answers[PATH]
    assert is_harmless(line)


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_names_are_escaped(collector, forklore, name):
    collector.answers[PATH] = tree(node(6039, name, children=[node(7001, name, container=name)]))
    result = await forklore("tree", "shop/cart-1")
    assert result.code == 0
    assert len(result.lines) == 3 and is_harmless(result.out)


async def test_a_hostile_pod_s_name_stays_one_segment_of_the_path(collector, forklore):
    result = await forklore("tree", "shop?a=b/x y#z%2f\x1b")
    assert result.code == 76
    assert collector.requests[0].raw_path == "/v1/pods/shop%3Fa%3Db/x%20y%23z%252f%1B/tree"


async def test_a_terminal_without_utf_8_gets_lines_of_ascii(collector, forklore):
    collector.answers[PATH] = tree(node(6039, "é", children=[node(7001)]))
    result = await forklore("tree", "shop/cart-1", PYTHONIOENCODING="ascii")
    assert result.code == 0
    assert result.out.isascii() and "`- " in result.out and "\\xe9" in result.out


@pytest.mark.parametrize(
    ("answer", "code", "text"),
    [
        ((404, {"error": "no pod of that name is known"}), 66, "no pod of that name"),
        ((404, {"error": "Not Found"}), 76, "older one"),
        ((401, {"error": "a token is wanted"}), 77, "--token-file"),
        ((403, {"error": "no"}), 77, "does not permit"),
        ((400, {"error": "from: '\x1b[2J' is no time"}), 2, "from: '\\x1b[2J' is no time"),
        ((429, {"error": "too many questions"}), 69, "429: too many questions"),
        ((503, {"error": "the store does not answer"}), 69, "the store does not answer"),
        ((302, {}), 77, "redirects elsewhere"),
        ((418, {}), 76, "is it a collector"),
        (lambda _: web.Response(text="<html>"), 76, "is it a collector"),
    ],
)
async def test_each_error_has_its_sentence_and_its_code(collector, forklore, answer, code, text):
    collector.answers[PATH] = answer
    result = await forklore("tree", "shop/cart-1")
    assert result.code == code
    assert result.out == "" and result.err.startswith("forklore tree: ") and text in result.err
    assert result.err.count("\n") == 1 and is_harmless(result.err)


async def test_other_pods_of_the_name_are_reported_unless_one_was_selected(collector, forklore):
    collector.answers[PATH] = tree(node(7001)) | {"cluster": "de\x1bmo", "pod_uid": "uid-2", "others": 3}
    result = await forklore("tree", "shop/cart-1", "--cluster", "de")
    assert result.code == 0 and "3 more pods of that name: this is --pod-uid uid-2, cluster de\\x1bmo" in result.err
    assert dict(collector.requests[0].query) == {"cluster": "de"}
    assert (await forklore("tree", "shop/cart-1", "--pod-uid", "uid-2")).err == ""


async def test_the_tree_of_a_pod_that_is_not_observable_says_so(collector, forklore):
    collector.answers[PATH] = tree(node(7001)) | {"observable": False}
    assert "of its sandbox: the pod has a kernel of its own" in (await forklore("tree", "shop/cart-1")).lines[0]


async def test_answers_of_the_wrong_shape_do_not_crash_it(collector, forklore):
    for answer in ([], {}, {"roots": [{}]}, {"roots": {"a": 1}}, {"roots": [1, None], "processes": "x"}, None, 7):
        collector.answers[PATH] = answer
        result = await forklore("tree", "shop/cart-1")
        assert result.code == 0 and "Traceback" not in result.err, answer


async def test_a_missing_collector_is_reported_with_its_address():
    result = await run_forklore(None, "tree", "shop/cart-1")
    assert result.code == 69
    assert result.err == "forklore tree: no collector answers at http://127.0.0.1:9: connection refused\n"


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["cart-1"], 2, "NAMESPACE/POD"),
        (["a/b/c"], 2, "NAMESPACE/POD"),
        (["shop/cart-1", "--from", "yesterday"], 2, "yesterday is no time"),
        (["shop/cart-1", "--collector", "ftp://x"], 78, "--collector is 'ftp://x'"),
        (["shop/cart-1", "--token-file", "/nowhere"], 78, "/nowhere: No such file"),
        (["shop/cart-1", "--ca-file", "/nowhere"], 78, "/nowhere: No such file"),
        (["shop/cart-1", "--ca-file", "/etc/hostname"], 78, "contains no certificate"),
        (["shop/cart-1", "--token-file", "/dev/null"], 78, "contains no token"),
    ],
)
async def test_wrong_options_are_reported_before_any_request(collector, forklore, arguments, code, text):
    result = await forklore("tree", *arguments)
    assert (result.code, text in result.err, collector.requests) == (code, True, []), result.err


async def test_the_token_is_the_first_line_of_its_file(collector, forklore, tmp_path):
    file = tmp_path / "token"
    file.write_text("right-token\nanother\n")
    collector.answers[PATH] = tree()
    assert (await forklore("tree", "shop/cart-1", FORKLORE_TOKEN_FILE=str(file))).code == 0
    assert collector.requests[0].headers["Authorization"] == "Bearer right-token"


async def test_the_help_has_the_exit_codes(forklore):
    for command in ("top", "tree", "tail"):
        result = await forklore(command, "--help")
        assert result.code == 0 and "66 no such pod" in result.out and "FORKLORE_COLLECTOR" in result.out


async def test_progress_is_printed_after_a_second(collector, forklore):
    async def slow():
        await asyncio.sleep(1.3)
        return tree()

    collector.answers[PATH] = lambda _: slow()
    result = await forklore("tree", "shop/cart-1")
    assert result.code == 0 and result.err == f"asking {collector.url} ...\n"
    collector.answers[PATH] = tree()
    assert (await forklore("tree", "shop/cart-1")).err == ""


async def test_a_closed_output_ends_it_quietly(collector):
    collector.answers[PATH] = tree(*(node(pid, f"c{pid}") for pid in range(7000, 27000)))
    async with start_forklore(collector, "tree", "shop/cart-1") as process:
        assert (await process.stdout.readline()).startswith(b"20,000 processes")
        process.stdout._transport.close()  # as `head -1` does
        assert (await process.wait(), await process.stderr.read()) == (0, b"")


async def test_a_full_disk_is_reported(collector):
    collector.answers[PATH] = tree(node(7001))
    with open("/dev/full", "wb") as full:  # noqa: ASYNC230, PTH123
        async with start_forklore(collector, "tree", "shop/cart-1", stdout=full) as process:
            _, err = await process.communicate()
    assert (process.returncode, err) == (74, b"forklore tree: the output can't be written: No space left on device\n")


async def test_a_token_is_not_sent_to_another_address(collector, forklore, tmp_path):
    file = tmp_path / "token"
    file.write_text("right-token\n")
    collector.answers[PATH] = lambda _: web.Response(status=302, headers={"Location": f"{collector.url}/signin"})
    result = await forklore("tree", "shop/cart-1", "--token-file", str(file))
    assert result.code == 77 and "redirects elsewhere" in result.err
    assert [request.path for request in collector.requests] == [PATH]


async def test_an_endless_answer_is_refused(collector, forklore):
    async def endless(request):
        response = web.StreamResponse()
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            for _ in range(1000):
                await response.write(b" " * (1 << 20))
        return response

    collector.answers[PATH] = endless
    result = await forklore("tree", "shop/cart-1")
    assert result.code == 76 and "over 64 MiB" in result.err


async def test_the_certificate_is_checked_and_its_ca_can_be_named(tmp_path):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    async with running_fake_collector(tls=authority.issue_cert("127.0.0.1")) as collector:
        collector.answers[PATH] = tree()
        result = await run_forklore(collector, "tree", "shop/cart-1")
        assert result.code == 69
        assert "is not trusted: its certificate is from an unknown CA: set --ca-file to that CA" in result.err
        assert (await run_forklore(collector, "tree", "shop/cart-1", "--ca-file", str(tmp_path / "ca.pem"))).code == 0
        plain_url = collector.url.replace("https", "http")
        assert (await run_forklore(collector, "tree", "shop/cart-1", "--collector", plain_url)).code in (69, 76)
