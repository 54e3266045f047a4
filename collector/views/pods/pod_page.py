"""One pod, or a node's forks outside pods, as its page shows them.

Pure. Must not live here: the timeline (`timelane`), the lineage (`forest`), JSON of the API (`pods`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from collector.model import Filter, Span
from collector.views.links import CHOICES, PodListQuery, node_href, pod_href, query, workload_href
from collector.views.nodes.reasons import reason_badge
from collector.views.pods.fork_rows import fork_row
from collector.views.pods.list_page import complete_words, missing_badges, pod_name, rate_title, share_said, storm_mark
from collector.views.pods.sandboxes import without_counts
from collector.views.timeline.bands import bands_of
from collector.views.timeline.lanes import host_lane, lanes_of
from collector.views.times import SECOND, clock, moment, span, stamp
from collector.views.words import ago, length, number, per_second, visible

__all__ = ["host_model", "pod_model", "range_model"]

BAR: Final = 100  # a bar's width, in its own units


def pod_model(pod: Mapping[str, Any], rows: Sequence[Any], within: Span, step: int, now: int) -> dict[str, Any]:
    """`pod` as made by `pods.pod_json`; `rows`: its timeline in steps of `step` ns. `now` in ns."""
    pod = without_counts(pod)
    workload = pod["workload"]
    bands, outside = bands_of(pod, within)
    return {
        **_shared(pod, now),
        **storm_mark(pod),
        "title": f"{visible(pod['namespace'])}/{pod_name(pod)}",
        "namespace": visible(pod["namespace"]),
        "namespace_href": PodListQuery(Filter(namespace=pod["namespace"])).href() if pod["namespace"] else "",
        "name": pod_name(pod),
        "workload": visible(f"{workload['kind']} {workload['name']}") if workload else "",
        "workload_href": workload_href(pod),
        "facts": _facts(pod),
        "labels": [
            {"text": visible(f"{name}={value}"), "href": PodListQuery(Filter(labels=((name, value),))).href()}
            for name, value in sorted((pod["labels"] or {}).items())
        ],
        "lanes": lanes_of(rows if pod["observable"] else [], pod["containers"], within, step),
        "bands": bands,
        "outside": f"{number(outside)} more outside this range" if outside else "",
        "observable": pod["observable"],
        "others": [
            {
                "key": str(other["key"]),
                "href": pod_href({**other, "namespace": pod["namespace"], "pod": pod["pod"]}),
                "uid": visible(other["pod_uid"]),
                "where": _where(other, pod),
                "when": span(other["first_seen"], other["last_seen"]),
            }
            for other in pod["others"]
        ],
    }


def host_model(host: Mapping[str, Any], now: int) -> dict[str, Any]:
    """`host` as made by `pods.host_json`."""
    interval = host["history_interval"]
    within = Span(moment(interval["start"]), moment(interval["end"])) if interval else None
    bands, outside = bands_of(host, within) if within else ([], 0)
    return {
        **_shared(host, now),
        "lanes": host_lane(host["history"], within),
        "span": [moment / SECOND for moment in within] if within else [0, 0],
        "bands": bands,
        "outside": f"{number(outside)} more outside this range" if outside else "",
    }


def range_model(since: str, until: str, within: Span, step: int, kept: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """The range as asked for, the usual ones to choose, and in words. `step` in ns; `kept`: the address's other words."""
    live = until in ("", "now")
    return {
        "from": since,
        "to": until,
        "live": live,
        "kept": kept,
        "choices": [
            {"text": text, "href": query([*kept, ("from", words)]), "current": live and words == (since or CHOICES[0][0])}
            for words, text in CHOICES
        ],
        "said": f"{span(str(stamp(within.start)), stamp(within.end))} UTC",
        "step": length(step // SECOND),
    }


def _where(other: Mapping[str, Any], pod: Mapping[str, Any]) -> str:
    place = f"on {visible(other['node'])}"
    if other["cluster"] != pod["cluster"]:
        place += f" of {visible(other['cluster'])}"
    return f"newer, {place}" if other["first_seen"] > pod["first_seen"] else place


def _facts(pod: Mapping[str, Any]) -> list[dict[str, str]]:
    facts = [
        ("node", pod["node"], node_href(pod["cluster"], pod["node"])),
        ("cluster", pod["cluster"], PodListQuery(Filter(cluster=pod["cluster"])).href()),
        ("QoS class", pod["qos"], ""),
        ("service account", pod["service_account"], ""),
        ("uid", pod["pod_uid"], ""),
        ("first seen", (pod["first_seen"] or "")[:19].replace("T", " "), ""),
    ]
    return [{"name": name, "value": visible(value), "href": href} for name, value, href in facts if value]


def _shared(entry: Mapping[str, Any], now: int) -> dict[str, Any]:
    most = max((one["forks"] for one in entry["top"]), default=1)
    storm = entry["storm"]
    last = entry.get("last_seen")
    return {
        "rate": per_second(entry["rate"]),
        "rate_title": rate_title(entry),
        "forks": number(entry["processes"]),
        "threads": number(entry["threads"]),
        "since": number(entry["since"]),
        "entered": number(entry["entered"]),
        "delivered": number(entry["delivered"]),
        "seen": f"last heard of {ago(moment(last), now)}" if last else "",
        "storm": f"In a storm since {clock(storm['interval']['start'])[:8]} UTC: its forks are only counted, exactly."
        if storm
        else "",
        "missing": missing_badges(entry),
        "elsewhere": [
            {**reason_badge(reason, count), "key": f"{sink} {reason}", "text": f"{number(count)} missing at {visible(sink)}"}
            for sink, reasons in entry["missing_elsewhere"].items()
            for reason, count in reasons.items()
        ],
        "complete": complete_words(entry),
        "share": share_said(entry),
        "parents": [
            {
                "key": f"={one['comm']}" if one["comm"] is not None else "unknown",
                "comm": visible(one["comm"]),
                "forks": number(one["forks"]),
                "width": f"{max(1.5, one['forks'] / most * BAR):.1f}",
            }
            for one in entry["top"]
        ],
        "latest": [fork_row(fork) for fork in entry["latest"]],
    }
