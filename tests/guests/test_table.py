"""The table of `make kernels` has the results of the guests: a test that was skipped, or has no result, has not passed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.guests import inside
from tests.guests.columns import COLUMNS, chosen
from tests.guests.table import PAGE, REQUIREMENTS, Row, drawn, read, shortened, written

ROOT = Path(__file__).parents[2]
FIRST = {"row": "5.10-v1-1", "kernel": "5.10.0-46-cloud-amd64", "controller": "pids"}
LAST = {"starts_us": [8_000_000, 7_000_000, 9_000_000], "end": 0}


def passed(test: str, outcome: str = "passed", why: str = "") -> dict[str, Any]:
    return {"test": test, "outcome": outcome, "seconds": 1.0, "why": why}


def results(folder: Path, *lines: dict[str, Any], torn: str = "") -> Row:
    text = "".join(json.dumps(line) + "\n" for line in lines) + torn
    (folder / "5.10-v1-1.results").write_text(text)
    return read(folder, "5.10-v1-1")


def cells(row: Row) -> dict[str, str]:
    titles, _, values = ([cell.strip() for cell in line.strip("|\n ").split(" | ")] for line in drawn([row]).splitlines())
    return dict(zip(titles, values, strict=True))


def test_a_row_in_which_all_tests_passed_has_yes_in_each_column_with_tests(tmp_path: Path) -> None:
    tests = chosen(closely=False)
    row = results(tmp_path, FIRST, *map(passed, tests), LAST)
    assert row.failed == []
    shown = cells(row)
    assert [shown[column.title] for column in COLUMNS] == ["yes" if column.tests else "" for column in COLUMNS]
    assert (shown["kernel"], shown["hierarchy"], shown["start, us"]) == ("5.10.0-46", "v1", "8,000,000")
    assert shown["tests"] == f"{len(tests)} of {len(tests)}"


def test_the_short_table_has_one_line_for_each_kernel_with_all_its_tests(tmp_path: Path) -> None:
    row = results(tmp_path, FIRST, passed("a"), passed("b", "failed", "no"), passed("c", "skipped"), LAST)
    other = Row("5.10-both-1", row.first, {"a": passed("a")}, LAST)
    assert shortened([row, other]).splitlines()[2:] == ["| 5.10.0-46 | v1, v1 and v2 | 2 of 3 |"]


def test_the_requirements_name_the_same_kernels_as_the_page(tmp_path: Path) -> None:
    def kernels(page: Path) -> list[str]:
        table = page.read_text().partition("<!-- kernels: make kernels WRITE=1 -->\n")[2].partition("<!-- end -->")[0]
        return list(dict.fromkeys(line.split(" | ")[0].strip("| ") for line in table.splitlines()[2:]))

    assert kernels(REQUIREMENTS) == kernels(PAGE) != []


def test_a_test_that_failed_is_named_with_its_reason(tmp_path: Path) -> None:
    bad, *rest = chosen(closely=True)
    row = results(tmp_path, FIRST, passed(bad, "failed", "verifier | says no"), *map(passed, rest), {**LAST, "end": 1})
    assert [line.split(": ")[1] for line in row.failed] == ["verifier | says no"]
    assert cells(row)[COLUMNS[0].title] == "**no**"
    assert "verifier \\| says no" in drawn([row])


def test_a_teardown_that_passes_does_not_hide_an_earlier_failure(tmp_path: Path) -> None:
    bad = chosen(closely=True)[0]
    assert results(tmp_path, FIRST, passed(bad, "failed", "no"), passed(bad), LAST).failed


@pytest.mark.parametrize(
    ("lines", "torn", "word"),
    [
        ((), "", "did not finish"),
        ((FIRST, passed("a::b")), '{"starts_us": [1', "did not finish"),
        ((FIRST, passed("a::b"), {**LAST, "end": 4}), "", "ended with 4"),
    ],
)
def test_a_guest_that_did_not_finish_or_ran_other_tests_has_failed(
    tmp_path: Path, lines: tuple[dict[str, Any], ...], torn: str, word: str
) -> None:
    assert word in results(tmp_path, *lines, torn=torn).failed[0]


def test_a_row_without_results_has_failed(tmp_path: Path) -> None:
    assert read(tmp_path, "6.1-v2-1").failed


def test_every_test_of_a_column_exists() -> None:
    for test in chosen(closely=True):
        path, _, name = test.partition("::")
        assert f"def {name}(" in (ROOT / path).read_text() if name else (ROOT / path).exists()


def test_the_page_has_a_place_for_the_table_and_explains_each_column() -> None:
    page = PAGE.read_text()
    again = written(page, "a table\n")
    assert "-->\na table\n<!-- end -->" in again
    assert written(again, "") == written(page, "")
    assert [column.title for column in COLUMNS if f"\n| {column.title} | " not in written(page, "")] == []
    with pytest.raises(ValueError, match="end"):
        written("# A page\n", "a table\n")


@pytest.mark.parametrize(("marks", "outcome"), [({"skipif": 1}, "skipped"), ({}, "failed")])
def test_a_test_that_skips_because_no_program_can_be_loaded_has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, marks: dict[str, Any], outcome: str
) -> None:
    monkeypatch.setattr(inside, "HOST", tmp_path / "host")
    why = ("conftest.py", 1, "Skipped: BCC could not load the programs")
    inside.ResultPlugin().pytest_runtest_logreport(pytest.TestReport("a::b", ("a", 1, "b"), marks, "skipped", why, "call"))
    sent = json.loads((tmp_path / "host").read_text())
    assert (sent["outcome"], sent["why"]) == (outcome, "BCC could not load the programs")
