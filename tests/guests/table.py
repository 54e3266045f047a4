"""Outside: the results of the guests, as a table. `.venv/bin/python -m tests.guests.table FOLDER ROW...` prints it, and with
WRITE=1 in the environment writes it into docs/kernels.md, and its short form into docs/requirements.md, if all passed.

FOLDER has <row>.results (see inside.py). Exit code 1 when a test of a row failed, or a guest did not finish.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.guests.columns import COLUMNS, Column

__all__ = ["PAGE", "REQUIREMENTS", "Row", "drawn", "read", "shortened", "written"]

PAGE: Final = Path(__file__).parents[2] / "docs/kernels.md"
REQUIREMENTS: Final = Path(__file__).parents[2] / "docs/requirements.md"
_MARK, _END = "<!-- kernels: make kernels WRITE=1 -->\n", "<!-- end -->"

_HIERARCHIES = {"v1": "v1", "v2": "v2", "both": "v1 and v2"}


@dataclass(frozen=True)
class Row:
    """`name`: <kernel>-<hierarchy>-<cpus>, as in dev/setup/kernels. `tests`: the result of each, by pytest's id."""

    name: str
    first: dict[str, Any]
    tests: dict[str, dict[str, Any]]
    last: dict[str, Any]

    @property
    def kernel(self) -> str:
        """As `uname -r` has it there."""
        return str(self.first.get("kernel", self.name.rsplit("-", 2)[0])).removesuffix("-cloud-amd64")

    @property
    def outcomes(self) -> list[str]:
        """Of the tests that ran."""
        return [one["outcome"] for one in self.tests.values() if one["outcome"] != "skipped"]

    @property
    def failed(self) -> list[str]:
        """One line each; also when the guest itself failed."""
        lines = [f"{one['test'].split('::')[-1]}: {one['why']}" for one in self.tests.values() if one["outcome"] == "failed"]
        if not self.last:
            lines.append("the guest did not finish")
        elif self.last["end"] and not lines:  # pytest's exit code: a test does not exist, or none was run
            lines.append(f"pytest ended with {self.last['end']}")
        return lines

    def cell(self, column: Column) -> str:
        """`yes`: all of the column's tests passed. Empty: none was to run."""
        asked = [one for test in (*column.tests, *column.once) for one in self._of(test)]
        if any(one["outcome"] == "failed" for one in asked):
            return "**no**"
        if not asked:
            return "**?**" if column.tests else ""
        return "yes" if any(one["outcome"] == "passed" for one in asked) else "skipped"

    def notes(self) -> str:
        counted = [f"counted in v1's `{self.first['controller']}`"] if self.first.get("controller") else []
        return "; ".join([*counted, *self.failed]).replace("|", "\\|")

    def _of(self, test: str) -> list[dict[str, Any]]:
        return [one for name, one in self.tests.items() if name == test or name.startswith((f"{test}::", f"{test}["))]


def read(folder: Path, name: str) -> Row:
    """Ignores a line that a crashing guest left unfinished."""
    first: dict[str, Any] = {}
    last: dict[str, Any] = {}
    tests: dict[str, dict[str, Any]] = {}
    path = folder / f"{name}.results"
    for line in path.read_text(errors="replace").splitlines() if path.exists() else ():
        try:
            fields = json.loads(line)
        except ValueError:
            continue
        if "row" in fields:
            first = fields
        elif "end" in fields:
            last = fields
        elif tests.get(fields["test"], {}).get("outcome") != "failed":  # a failing teardown comes after the call
            tests[fields["test"]] = fields
    return Row(name, first, tests, last)


def drawn(rows: list[Row]) -> str:
    """A Markdown table."""
    titles = ["kernel", "hierarchy", "CPUs", *(column.title for column in COLUMNS), "start, us", "tests", "notes"]
    lines = [titles, ["---"] * len(titles)]
    for row in rows:
        _kernel, hierarchy, cpus = row.name.rsplit("-", 2)
        starts = row.last.get("starts_us")
        start = f"{statistics.median(starts):,.0f}" if starts else ""
        cells = [row.cell(column) for column in COLUMNS]
        passed = f"{row.outcomes.count('passed')} of {len(row.outcomes)}"
        lines.append([row.kernel, _HIERARCHIES[hierarchy], cpus, *cells, start, passed, row.notes()])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def shortened(rows: list[Row]) -> str:
    """One line a kernel, in Markdown."""
    lines = [["Debian's kernel", "with cgroup", "tests passed there"], ["---"] * 3]
    for kernel in dict.fromkeys(row.kernel for row in rows):
        mine = [row for row in rows if row.kernel == kernel]
        hierarchies = dict.fromkeys(_HIERARCHIES[row.name.rsplit("-", 2)[1]] for row in mine)
        outcomes = [outcome for row in mine for outcome in row.outcomes]
        lines.append([kernel, ", ".join(hierarchies), f"{outcomes.count('passed')} of {len(outcomes)}"])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def written(page: str, table: str) -> str:
    """The page with this table between its marks. Raises ValueError when it has none."""
    before, mark, rest = page.partition(_MARK)
    _old, end, after = rest.partition(_END)
    if not end:
        raise ValueError(f"the page has no {_MARK.strip()} and {_END} after it")
    return before + mark + table + end + after


def main() -> int:
    rows = [read(Path(sys.argv[1]), name) for name in sys.argv[2:]]
    table = drawn(rows)
    sys.stdout.write(table)
    if any(row.failed for row in rows):
        return 1
    if os.environ.get("WRITE"):
        PAGE.write_text(written(PAGE.read_text(), table))
        REQUIREMENTS.write_text(written(REQUIREMENTS.read_text(), shortened(rows)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
