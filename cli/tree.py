"""`forklore tree NAMESPACE/POD`: who forked whom in a pod, as an indented tree.

Must not live here: what a line says (`lineage`).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Final

from cli.client.client import Collector
from cli.client.errors import OK
from cli.exit import ended
from cli.options import access_of, joined, new_parser, time_text
from cli.text.output import Output
from cli.text.progress import Progress
from cli.text.tree_lines import heading, lineage
from cli.text.words import json_line
from wire.names import visible
from wire.numbers import number

__all__ = ["main"]

_EPILOG: Final = """A line: what the process was called when it last forked (else what its parent was), its pid on the host and,
behind the stroke, in the pod; when it was forked; how many it forked itself, and how many came of these in all."""


def main(arguments: Sequence[str]) -> int:
    parser = new_parser("tree", "Shows who forked whom in a pod.", _EPILOG)
    parser.add_argument("pod", metavar="NAMESPACE/POD")
    parser.add_argument("--from", dest="start", type=time_text, metavar="TIME", help="default: an hour ago (-1h)")
    parser.add_argument("--to", dest="end", type=time_text, metavar="TIME", help="default: now")
    parser.add_argument(
        "--limit", type=int, metavar="N", help="processes at most, the newest; default: 1000, and 10000 at most"
    )
    parser.add_argument("--cluster", metavar="NAME", help="where several clusters have a pod of that name")
    parser.add_argument("--pod-uid", metavar="UID", help="where several pods had that name; default: the newest")
    parser.add_argument("--all", action="store_true", help="a line for each process, also where many are alike")
    parser.add_argument("--json", action="store_true", help="what the collector said, in one line")
    options = parser.parse_args(joined(arguments, "--from", "--to"))
    namespace, stroke, pod = options.pod.partition("/")
    if not (namespace and stroke and pod) or "/" in pod:
        parser.error(f"{visible(options.pod)!r} is no pod; right would be NAMESPACE/POD, such as shop/cart-59855dd6c8-hnc27")
    return ended("tree", lambda: _show(options, namespace, pod))


async def _show(options: argparse.Namespace, namespace: str, pod: str) -> int:
    output = Output()
    said = {
        "from": options.start,
        "to": options.end,
        "limit": options.limit,
        "cluster": options.cluster,
        "pod_uid": options.pod_uid,
    }
    query = [(name, str(value)) for name, value in said.items() if value is not None]
    access = access_of(options)
    async with Collector(access) as collector, Progress(f"asking {access.shown}") as progress:
        tree = await collector.get(("v1", "pods", namespace, pod, "tree"), query, progress)
    if options.json:
        output.say([json_line(tree.raw)])
        return OK
    if (others := tree["others"].whole) and not options.pod_uid:
        which = f"--pod-uid {visible(tree['pod_uid'].text or '')}, cluster {visible(tree['cluster'].text or '')}"
        sys.stderr.write(f"{number(others)} more of that name: this is {which}, the newest that was asked for\n")
    output.say([output.paint(heading(tree))])
    output.say(output.paint(line) for line in lineage(tree, fold=not options.all, drawn=output.draws_lines))
    if tree["cut"].raw:
        sys.stderr.write(
            f"only the newest {number(tree['processes'].whole)}: --limit asks for more, --from and --to for others\n"
        )
    return OK
