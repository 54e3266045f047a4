"""Found forks as a file for other tools: NDJSON, one event a line as it was sent, and CSV (RFC 4180) with the columns below.

Pure: a page of forks in, bytes out.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

import orjson

from collector.model import FoundFork
from wire.api import Cut

__all__ = ["FORMATS", "ExportFormat"]

_COLUMNS: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    *((name, (name,)) for name in ("timestamp", "id", "kind")),
    *((name, ("k8s", name)) for name in ("cluster", "node", "namespace", "pod", "pod_uid")),
    ("workload_kind", ("k8s", "workload", "kind")),
    ("workload", ("k8s", "workload", "name")),
    ("container", ("container", "name")),
    ("container_id", ("container", "id")),
    ("image", ("container", "image")),
    *((name, (name,)) for name in ("comm", "parent_comm", "child_pid", "child_ns_pid", "parent_pid", "parent_ns_pid")),
    *((name, (name,)) for name in ("uid", "gid", "process_entity_id", "parent_entity_id", "start_time")),
)
# A spreadsheet reads a cell that begins like this as a formula, also after blanks and a quotation mark; some accept the
# full-width signs as well. One that separates by semicolons or tabs, as in many countries, begins a cell after each of these,
# whatever the quotes around it.
_FORMULA: Final = re.compile(r"(^|[;,|\t\r\n])(?=[\s\x00-\x20\ufeff\"]*[=+\-@\uff1d\uff0b\uff0d\uff20])|^(?=[\t\r\n])")


class ExportFormat(NamedTuple):
    """`cut`: the last line of a file that does not hold everything; it names the cursor to go on from."""

    content_type: str
    file_name: str
    head: bytes
    page: Callable[[Iterable[FoundFork]], bytes]
    cut: Callable[[int, str], bytes]


def _ndjson(page: Iterable[FoundFork]) -> bytes:
    return b"".join(orjson.dumps(fork.body) + b"\n" for fork in page)


def _ndjson_cut(forks: int, after: str) -> bytes:
    line: Cut = {"event": "cut", "forks": forks, "next": after}
    return orjson.dumps(line) + b"\n"


def _csv(page: Iterable[FoundFork]) -> bytes:
    return _lines([_cell(fork.body, path) for _, path in _COLUMNS] for fork in page)


def _csv_cut(forks: int, after: str) -> bytes:
    """With as many cells as the other rows, as readers of CSV expect."""
    text = f"cut after {forks} forks; the rest: after={after}"
    return _lines([[text, *[""] * (len(_COLUMNS) - 1)]])


def _lines(rows: Iterable[Iterable[str | int]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()


def _cell(event: Mapping[str, Any], path: Iterable[str]) -> str | int:
    """Unknown is empty. An apostrophe before what a spreadsheet would take for a formula makes it text."""
    value: Any = event
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    if value is None or isinstance(value, int):
        return "" if value is None else value
    text = str(value)
    return _FORMULA.sub(lambda found: f"{found[1] or ''}'", text)


FORMATS: Final = {
    "ndjson": ExportFormat("application/x-ndjson", "forks.ndjson", b"", _ndjson, _ndjson_cut),
    "csv": ExportFormat("text/csv", "forks.csv", _lines([[name for name, _ in _COLUMNS]]), _csv, _csv_cut),
}
