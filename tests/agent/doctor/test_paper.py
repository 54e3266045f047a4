"""Findings on paper: in columns, with nothing in them that a terminal would obey."""

from __future__ import annotations

import json

from hypothesis import example, given
from hypothesis import strategies as st

from agent.doctor.check_result import fail, ok, skipped, warn
from agent.doctor.report import as_json, as_text

FINDINGS = [
    ok("kernel", "Linux 6.1"),
    warn("state directory", "1 MiB free", "make room"),
    fail("sink siem", "refused", "see the url"),
    skipped("canary", "not permitted"),
]


def test_it_is_in_columns_and_each_cure_is_below_what_it_cures():
    assert as_text(FINDINGS, coloured=False).splitlines() == [
        "ok       kernel           Linux 6.1",
        "warn     state directory  1 MiB free",
        "                       -> make room",
        "fail     sink siem        refused",
        "                       -> see the url",
        "skipped  canary           not permitted",
        "1 ok, 1 warn, 1 fail, 1 skipped",
    ]


def test_colour_changes_nothing_but_colour():
    coloured = as_text(FINDINGS, coloured=True)
    assert "\x1b[1;31mfail   \x1b[0m" in coloured
    for code in ("\x1b[32m", "\x1b[33m", "\x1b[1;31m", "\x1b[2m", "\x1b[0m"):
        coloured = coloured.replace(code, "")
    assert coloured == as_text(FINDINGS, coloured=False)


@given(st.text(), st.text(), st.text())
def test_whatever_others_chose_a_finding_stays_one_line_and_moves_no_cursor(name, text, cure):
    lines = as_text([fail(name, text, cure or "-")], coloured=False)
    assert lines.count("\n") == 3
    assert all(line.isprintable() for line in lines.split("\n"))


@given(st.text())
@example("a file's name that is no UTF-8: \udcff")
def test_json_says_the_same_whatever_others_chose(text):
    said = json.loads(as_json([*FINDINGS, fail("sink", text, "-")], "node1"))
    assert (said["node"], said["ok"], said["warn"], said["fail"], said["skipped"]) == ("node1", 1, 1, 2, 1)
    assert said["findings"][1] == {"name": "state directory", "verdict": "warn", "text": "1 MiB free", "cure": "make room"}
    assert said["findings"][-1]["text"] == " ".join(text.split()).encode(errors="replace").decode()
    assert said["findings"][0]["cure"] is None
