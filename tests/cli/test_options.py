"""The options that the commands share."""

import argparse
from pathlib import Path

import pytest

from agent.settings import load
from cli.client.errors import CommandError
from cli.options import ENVIRONMENT, add_fork_filters, filter_query, join_values, new_parser, parse_time, read_access


def parse(*arguments):
    parser = new_parser("tail", "")
    add_fork_filters(parser)
    return parser.parse_args(arguments)


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("now", "now"),
        ("-15m", "-15m"),
        ("15m", "-15m"),
        ("-500ms", "-500ms"),
        ("-2w", "-2w"),
        ("2026-11-22T19:48:30Z", "2026-11-22T19:48:30Z"),
        ("2026-11-22t19:48:30.118291004+05:30", "2026-11-22T19:48:30.118291004+05:30"),
        ("2026-11-22", "2026-11-22T00:00:00Z"),
        ("2026-11-22 19:48", "2026-11-22T19:48:00Z"),
    ],
)
def test_a_time_is_written_as_the_collector_accepts_it(text, parsed):
    assert parse_time(text) == parsed


@pytest.mark.parametrize("text", ["", "yesterday", "-15", "15 m", "2026-13-01", "2026-11-22T25:00", "1e9", "-15m\n-1h", "٣m"])
def test_an_invalid_time_is_refused_with_an_example(text):
    with pytest.raises(argparse.ArgumentTypeError, match="right would be -15m"):
        parse_time(text)


def test_a_relative_time_is_not_read_as_an_option():
    assert join_values(["--from", "-15m", "-o", "json"], "--from") == ["--from=-15m", "-o", "json"]
    assert join_values(["--comm", "-15m"], "--from") == ["--comm", "-15m"]


def test_filters_become_query_parameters_with_the_collector_s_names():
    options = parse(
        "--namespace", "shop", "--parent-comm", "sh", "--pid", "7", "--label", "a=b", "--label", "c=d", "--pod-uid", "u"
    )
    assert sorted(filter_query(options)) == [
        ("label", "a=b"),
        ("label", "c=d"),
        ("namespace", "shop"),
        ("parent_comm", "sh"),
        ("pid", "7"),
        ("pod_uid", "u"),
    ]


@pytest.mark.parametrize(
    ("value", "url"),
    [
        ("http://127.0.0.1:9910", "http://127.0.0.1:9910"),
        ("https://forks.example/forklore/", "https://forks.example/forklore"),
        ("collector:9910", "http://collector:9910"),
        ("[::1]:9910", "http://[::1]:9910"),
    ],
)
def test_an_address_may_omit_its_scheme(value, url):
    assert read_access(parse("--collector", value), {}).url == url


@pytest.mark.parametrize(
    "value", ["ftp://x", "http://", "http://x:0", "http://x:99999", "http://x/?a=b", "http://x y", "http://x\x1b[2J"]
)
def test_an_invalid_address_is_refused_and_shown_escaped(value):
    with pytest.raises(CommandError, match=r"--collector is .* right would be") as refused:
        read_access(parse("--collector", value), {})
    assert refused.value.code == 78 and str(refused.value).isprintable()


def test_options_override_the_environment_which_overrides_the_default():
    environment = dict(zip(ENVIRONMENT, ("http://env:1", "/env/token", "/env/ca"), strict=True))
    assert read_access(parse(), {}).url == "http://127.0.0.1:9910"
    assert read_access(parse(), environment) == ("http://env:1", "http://env:1", Path("/env/token"), Path("/env/ca"))
    options = parse("--collector", "http://opt:2", "--token-file", "/opt/token", "--ca-file", "/opt/ca")
    assert read_access(options, environment) == ("http://opt:2", "http://opt:2", Path("/opt/token"), Path("/opt/ca"))
    with pytest.raises(CommandError, match="FORKLORE_COLLECTOR is"):
        read_access(parse(), {"FORKLORE_COLLECTOR": "nonsense://"})


def test_a_password_in_the_address_is_used_but_not_shown():
    access = read_access(parse("--collector", "https://me:secret@forks.example"), {})
    assert "secret" in access.url and "secret" not in access.display_url
    with pytest.raises(CommandError, match="only one of them"):
        read_access(parse("--collector", "https://me:secret@forks.example", "--token-file", "x"), {})


def test_the_agent_accepts_these_variables(monkeypatch):
    for name in ENVIRONMENT:
        monkeypatch.setenv(name, "x")
    load(None)
