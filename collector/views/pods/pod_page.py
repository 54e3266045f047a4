"""The page of one pod, and the part of a node's page about its forks outside pods."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from collector.model import Filter, Span, TimelineRow
from collector.views.formatting import format_duration, number, per_second, time_ago, visible
from collector.views.lineage.forest import Forest
from collector.views.lineage.tables import tree_rows
from collector.views.links import RANGES, PodListQuery, node_href, pod_href, query_string, workload_href
from collector.views.nodes.loss_reasons import loss_badge
from collector.views.pods.entries import HostDetail
from collector.views.pods.fork_rows import fork_row
from collector.views.pods.pod_text import (
    completeness_text,
    display_name,
    missing_badges,
    rate_tooltip,
    storm_mark,
    unknown_share_text,
    workload_text,
)
from collector.views.pods.sandboxes import without_detail_counts
from collector.views.timeline.lanes import container_lanes, host_lane
from collector.views.timeline.plot_bands import PlotBands, plot_bands
from collector.views.times import SECOND, format_span, parse_stamp, stamp, time_of_day
from wire.api import OtherPod, PodDetail

__all__ = ["host_model", "lineage_model", "pod_model", "range_model"]

BAR: Final = 100  # the width of a bar, in its own units


def pod_model(detail: PodDetail, rows: Sequence[TimelineRow], within: Span, step: int, now: int) -> dict[str, Any]:
    """`rows`: its timeline in steps of `step` ns. `now` in ns."""
    pod = without_detail_counts(detail)
    storm = pod["storm"]
    return {
        **_shared(pod, sum(pod["unknown_share"].values()), observable=pod["observable"]),
        **storm_mark(storm, pod["storms_in_all"]),
        **_bands(plot_bands(pod["storms"], pod["gaps"], pod["node_gaps"], pod["node"], within)),
        "title": f"{visible(pod['namespace'])}/{display_name(pod)}",
        "namespace": visible(pod["namespace"]),
        "namespace_href": PodListQuery(Filter(namespace=pod["namespace"])).href() if pod["namespace"] else "",
        "name": display_name(pod),
        "workload": workload_text(pod),
        "workload_href": workload_href(pod["cluster"], pod["namespace"], pod["workload"]),
        "last_seen": f"last seen {time_ago(parse_stamp(pod['last_seen']), now)}",
        "storm": f"In a storm since {time_of_day(storm['interval']['start'])[:8]} UTC: its forks are only counted, exactly."
        if storm
        else "",
        "facts": _facts(pod),
        "labels": [
            {"text": visible(f"{name}={value}"), "href": PodListQuery(Filter(labels=((name, value),))).href()}
            for name, value in sorted((pod["labels"] or {}).items())
        ],
        "lanes": container_lanes(rows if pod["observable"] else [], pod["containers"], within, step),
        "observable": pod["observable"],
        "others": [
            {
                "key": str(other["key"]),
                "href": pod_href(pod["namespace"], pod["pod"], other["cluster"], other["pod_uid"], other["key"]),
                "uid": visible(other["pod_uid"]),
                "where": _where(other, pod),
                "when": format_span(other["first_seen"], other["last_seen"]),
            }
            for other in pod["others"]
        ],
    }


def host_model(host: HostDetail) -> dict[str, Any]:
    interval = host["history_interval"]
    within = Span(parse_stamp(interval["start"]), parse_stamp(interval["end"])) if interval else None
    bands = plot_bands([], host["gaps"], host["node_gaps"], host["node"], within) if within else PlotBands([], 0)
    return {
        **_shared(host, 0, observable=True),
        **_bands(bands),
        "lanes": host_lane(host["history"], within),
        "span": [time / SECOND for time in within] if within else [0, 0],
    }


def range_model(start: str, end: str, within: Span, step: int, other_parameters: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """`start`, `end`: as they stand in the address. `step` in ns. `other_parameters`: kept in the links to other ranges."""
    live = end in ("", "now")
    return {
        "from": start,
        "to": end,
        "live": live,
        "kept": other_parameters,
        "choices": [
            {
                "text": text,
                "href": query_string([*other_parameters, ("from", choice)]),
                "current": live and choice == (start or RANGES[0][0]),
            }
            for choice, text in RANGES
        ],
        "text": f"{format_span(stamp(within.start), stamp(within.end))} UTC",
        "step": format_duration(step // SECOND),
    }


def lineage_model(forest: Forest, limit: int, *, cut: bool) -> dict[str, Any]:
    """`cut`: there are more processes than the `limit`."""
    tree = tree_rows(forest.roots)
    return {
        "rows": tree.rows,
        "hidden": f"{number(tree.hidden)} more processes are not listed" if tree.hidden else "",
        "cut": f"of the newest {number(limit)} of this range" if cut else "",
        "processes": f"{number(forest.processes)} process{'' if forest.processes == 1 else 'es'}",
        "depth": number(forest.depth),
        "fan_out": number(forest.fan_out),
    }


def _bands(bands: PlotBands) -> dict[str, Any]:
    return {"bands": bands.inside, "outside": f"{number(bands.outside)} more outside this range" if bands.outside else ""}


def _where(other: OtherPod, pod: PodDetail) -> str:
    place = f"on {visible(other['node'])}"
    if other["cluster"] != pod["cluster"]:
        place += f" of {visible(other['cluster'])}"
    return f"newer, {place}" if other["first_seen"] > pod["first_seen"] else place


def _facts(pod: PodDetail) -> list[dict[str, str]]:
    facts = [
        ("node", pod["node"], node_href(pod["cluster"], pod["node"])),
        ("cluster", pod["cluster"], PodListQuery(Filter(cluster=pod["cluster"])).href()),
        ("QoS class", pod["qos"], ""),
        ("service account", pod["service_account"], ""),
        ("uid", pod["pod_uid"], ""),
        ("first seen", pod["first_seen"][:19].replace("T", " "), ""),
    ]
    return [{"name": name, "value": visible(value), "href": href} for name, value, href in facts if value]


def _shared(entry: PodDetail | HostDetail, unknown_share: int, *, observable: bool) -> dict[str, Any]:
    """What a pod and the forks outside pods have in common."""
    most = max((one["forks"] for one in entry["top"]), default=1)
    return {
        "rate": per_second(entry["rate"]),
        "rate_title": rate_tooltip(entry, observable=observable),
        "forks": number(entry["processes"]),
        "threads": number(entry["threads"]),
        "since": number(entry["since"]),
        "entered": number(entry["entered"]),
        "delivered": number(entry["delivered"]),
        "missing": missing_badges(entry, observable=observable),
        "elsewhere": [
            {**loss_badge(reason, count), "key": f"{sink} {reason}", "text": f"{number(count)} missing at {visible(sink)}"}
            for sink, reasons in entry["missing_elsewhere"].items()
            for reason, count in reasons.items()
        ],
        "complete": completeness_text(entry, unknown_share, observable=observable),
        "share": unknown_share_text(unknown_share),
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
