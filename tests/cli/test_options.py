"""What the commands are told, and what they make of it."""

import argparse
from pathlib import Path

import pytest

from agent.settings import load
from cli.client.errors import Trouble
from cli.options import ENVIRONMENT, access_of, asked, fork_filters, joined, new_parser, time_text


def told(*arguments):
    parser = new_parser("tail", "")
    fork_filters(parser)
    return parser.parse_args(arguments)


@pytest.mark.parametrize(
    ("text", "taken"),
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
def test_a_time_is_told_as_the_collector_takes_it(text, taken):
    assert time_text(text) == taken


@pytest.mark.parametrize("text", ["", "yesterday", "-15", "15 m", "2026-13-01", "2026-11-22T25:00", "1e9", "-15m\n-1h", "٣m"])
def test_what_is_no_time_is_refused_with_what_would_be_right(text):
    with pytest.raises(argparse.ArgumentTypeError, match="right would be -15m"):
        time_text(text)


def test_a_relative_time_is_no_option():
    assert joined(["--from", "-15m", "-o", "json"], "--from") == ["--from=-15m", "-o", "json"]
    assert joined(["--comm", "-15m"], "--from") == ["--comm", "-15m"]


def test_filters_become_a_query_under_the_collector_s_names():
    options = told(
        "--namespace", "shop", "--parent-comm", "sh", "--pid", "7", "--label", "a=b", "--label", "c=d", "--pod-uid", "u"
    )
    assert sorted(asked(options)) == [
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
def test_an_address_may_be_short(value, url):
    assert access_of(told("--collector", value), {}).url == url


@pytest.mark.parametrize(
    "value", ["ftp://x", "http://", "http://x:0", "http://x:99999", "http://x/?a=b", "http://x y", "http://x\x1b[2J"]
)
def test_what_is_no_address_is_refused_and_shown_harmlessly(value):
    with pytest.raises(Trouble, match=r"--collector is .* right would be") as refused:
        access_of(told("--collector", value), {})
    assert refused.value.code == 78 and str(refused.value).isprintable()


def test_options_go_before_the_environment_which_goes_before_the_usual():
    environment = dict(zip(ENVIRONMENT, ("http://env:1", "/env/token", "/env/ca"), strict=True))
    assert access_of(told(), {}).url == "http://127.0.0.1:9910"
    assert access_of(told(), environment) == ("http://env:1", "http://env:1", Path("/env/token"), Path("/env/ca"))
    options = told("--collector", "http://opt:2", "--token-file", "/opt/token", "--ca-file", "/opt/ca")
    assert access_of(options, environment) == ("http://opt:2", "http://opt:2", Path("/opt/token"), Path("/opt/ca"))
    with pytest.raises(Trouble, match="FORKLORE_COLLECTOR is"):
        access_of(told(), {"FORKLORE_COLLECTOR": "nonsense://"})


def test_a_password_in_the_address_is_used_and_not_shown():
    access = access_of(told("--collector", "https://me:secret@forks.example"), {})
    assert "secret" in access.url and "secret" not in access.shown
    with pytest.raises(Trouble, match="both"):
        access_of(told("--collector", "https://me:secret@forks.example", "--token-file", "x"), {})


def test_the_agent_takes_these_variables_for_no_mistake(monkeypatch):
    for name in ENVIRONMENT:
        monkeypatch.setenv(name, "x")
    load(None)
