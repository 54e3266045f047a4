"""The page of the search: its fields as they were filled in, what was found, and the addresses of the next page and of files.

Pure. Must not live here: what the words mean (`questions`), the search itself (`store`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from collector.model import FoundFork
from collector.views.links import CHOICES, query
from collector.views.pods.fork_rows import fork_row
from collector.views.times import span
from collector.views.words import number, visible

__all__ = ["FIELDS", "KINDS", "search_model"]

FIELDS: Final = (  # name, label, an example of what may be said
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
FORMS: Final = (("ndjson", "NDJSON"), ("csv", "CSV"))
OFTEN: Final = 6  # of the fields, which are always in sight
MONOTONE: Final = ("from", "to")


def search_model(
    asked: Sequence[tuple[str, str]],
    found: Sequence[FoundFork] | None,
    after: str,
    within: tuple[str | None, str | None] | None,
    wrong: str,
) -> dict[str, Any]:
    """`asked`: the address's words, without the empty ones. `after`: the cursor of the next page. `found` None: not asked."""
    told = dict(asked)
    same = [(key, value) for key, value in asked if key != "after"]
    fields = [
        {"name": name, "text": text, "example": example, "value": told.get(name, ""), "often": place < OFTEN}
        for place, (name, text, example) in enumerate(FIELDS)
    ]
    rows = [fork_row(fork.body) for fork in found or []]
    return {
        "fields": fields,
        "more": any(field["value"] for field in fields if not field["often"]) or bool(told.get("kind")),
        "kind": told.get("kind", ""),
        "kinds": KINDS,
        "from": told.get("from", ""),
        "to": told.get("to", ""),
        "choices": [
            {
                "text": text,
                "href": "search" + query([("from", words), *((key, value) for key, value in same if key not in MONOTONE)]),
                "current": told.get("from", CHOICES[1][0]) == words and told.get("to", "now") == "now",
            }
            for words, text in CHOICES
        ],
        "rows": rows,
        "asked": found is not None,
        "wrong": visible(wrong) if wrong else "",
        "within": f"{span(str(within[0]), within[1])} UTC" if within else "",
        "count": f"{number(len(rows))} fork{'' if len(rows) == 1 else 's'}" + (", and more" if after else ""),
        "next": "search" + query([*same, ("after", after)]) if after else "",
        "first": "search" + query(same) if told.get("after") else "",
        "exports": [{"text": text, "href": "v1/forks" + query([*same, ("format", form)])} for form, text in FORMS],
    }
