"""The page of the search: its fields as filled in, the forks that were found, and links to the next page and to files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from collector.model import FoundFork, Span
from collector.views.formatting import number, visible
from collector.views.links import RANGES, query_string
from collector.views.pods.fork_rows import fork_row
from collector.views.times import format_span, stamp

__all__ = ["FIELDS", "KINDS", "search_model"]

FIELDS: Final = (  # name, label, an example
    ("namespace", "namespace", "shop"),
    ("pod", "pod", "cart-59855dd6c8-hnc27"),
    ("comm", "comm", "sh"),
    ("parent_comm", "parent comm", "cron"),
    ("pid", "pid", "host or pod"),
    ("entity", "entity id", "16 hex digits"),
    ("workload", "workload", "Deployment/cart"),
    ("node", "node", "node1"),
    ("cluster", "cluster", "demo"),
    ("label", "label", "app=cart"),
    ("text", "text in a name", "cart"),
    ("pod_uid", "pod uid", ""),
)
KINDS: Final = (("", "any"), ("process", "process"), ("thread", "thread"))
FORMATS: Final = (("ndjson", "NDJSON"), ("csv", "CSV"))
COMMON: Final = 6  # of the fields, which are always visible
RANGE: Final = ("from", "to")


def search_model(
    parameters: Sequence[tuple[str, str]], found: Sequence[FoundFork] | None, after: str, within: Span | None, error: str
) -> dict[str, Any]:
    """`parameters`: of the address, without the empty ones. `found` None: there was no search. `after`: the cursor of the next
    page."""
    values = dict(parameters)
    search = [(name, value) for name, value in parameters if name != "after"]
    fields = [
        {"name": name, "text": text, "example": example, "value": values.get(name, ""), "common": index < COMMON}
        for index, (name, text, example) in enumerate(FIELDS)
    ]
    rows = [fork_row(fork.body) for fork in found or []]
    return {
        "fields": fields,
        "more": any(field["value"] for field in fields if not field["common"]) or bool(values.get("kind")),
        "kind": values.get("kind", ""),
        "kinds": KINDS,
        "from": values.get("from", ""),
        "to": values.get("to", ""),
        "choices": [
            {
                "text": text,
                "href": _href([("from", choice), *((name, value) for name, value in search if name not in RANGE)]),
                "current": values.get("from", RANGES[1][0]) == choice and values.get("to", "now") == "now",
            }
            for choice, text in RANGES
        ],
        "rows": rows,
        "searched": found is not None,
        "error": visible(error) if error else "",
        "within": f"{format_span(stamp(within.start), stamp(within.end))} UTC" if within else "",
        "count": f"{number(len(rows))} fork{'' if len(rows) == 1 else 's'}" + (", and more" if after else ""),
        "next": _href([*search, ("after", after)]) if after else "",
        "first": _href(search) if values.get("after") else "",
        "exports": [{"text": text, "href": "v1/forks" + query_string([*search, ("format", name)])} for name, text in FORMATS],
    }


def _href(parameters: Sequence[tuple[str, str]]) -> str:
    return "search" + query_string(parameters)
