"""The report: in columns, and without control characters for the terminal."""

from __future__ import annotations

import json

from hypothesis import example, given
from hypothesis import strategies as st

from agent.doctor.check_result import fail, ok, skipped, warn
from agent.doctor.report import as_json, as_text

RESULTS = [
    ok("kernel", "Linux 6.1"),
    warn("state directory", "1 MiB free", "free space"),
    fail("sink siem", "refused", "see the url"),
    skipped("canary", "not permitted"),
]


def test_the_text_is_in_columns_with_each_cure_below_its_result():
    assert as_text(RESULTS, coloured=False).splitlines() == [
        "ok       kernel           Linux 6.1",
        "warn     state directory  1 MiB free",
        "                       -> free space",
        "fail     sink siem        refused",
        "                       -> see the url",
        "skipped  canary           not permitted",
        "1 ok, 1 warn, 1 fail, 1 skipped",
    ]


def test_colours_change_nothing_else():
    coloured = as_text(RESULTS, coloured=True)
    assert "\x1b[1;31mfail   \x1b[0m" in coloured
    for code in ("\x1b[32m", "\x1b[33m", "\x1b[1;31m", "\x1b[2m", "\x1b[0m"):
        coloured = coloured.replace(code, "")
    assert coloured == as_text(RESULTS, coloured=False)


@given(st.text(), st.text(), st.text())
def test_any_text_stays_one_line_and_moves_no_cursor(name, text, cure):
    lines = as_text([fail(name, text, cure or "-")], coloured=False)
    assert lines.count("\n") == 3
    assert all(line.isprintable() for line in lines.split("\n"))


@given(st.text())
@example("a file's name that is no UTF-8: \udcff")
def test_the_json_has_the_same_results_for_any_text(text):
    report = json.loads(as_json([*RESULTS, fail("sink", text, "-")], "node1"))
    assert (report["node"], report["ok"], report["warn"], report["fail"], report["skipped"]) == ("node1", 1, 1, 2, 1)
    assert report["findings"][1] == {"name": "state directory", "verdict": "warn", "text": "1 MiB free", "cure": "free space"}
    assert report["findings"][-1]["text"] == " ".join(text.split()).encode(errors="replace").decode()
    assert report["findings"][0]["cure"] is None
