"""`forklore tree NAMESPACE/POD`: prints the processes that a pod forked as an indented tree."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Final

from cli.client.client import Collector
from cli.client.errors import OK
from cli.exit import run_command
from cli.options import join_values, new_parser, parse_time, read_access
from cli.text.formatting import json_line
from cli.text.output import Output
from cli.text.progress import Progress
from cli.text.tree_lines import heading, tree_lines
from wire.names import visible
from wire.numbers import number

__all__ = ["main"]

_EPILOG: Final = """A line: the process's name when it last forked (else its parent's name), its pid on the host and, after the
slash, in the pod; when it was forked; how many processes it forked, and how many descendants it has in all."""


def main(arguments: Sequence[str]) -> int:
    parser = new_parser("tree", "Prints the tree of the processes that a pod forked.", _EPILOG)
    parser.add_argument("pod", metavar="NAMESPACE/POD")
    parser.add_argument("--from", dest="start", type=parse_time, metavar="TIME", help="default: an hour ago (-1h)")
    parser.add_argument("--to", dest="end", type=parse_time, metavar="TIME", help="default: now")
    parser.add_argument(
        "--limit", type=int, metavar="N", help="processes at most, the newest; default: 1000, and 10000 at most"
    )
    parser.add_argument("--cluster", metavar="NAME", help="if several clusters have a pod of that name")
    parser.add_argument("--pod-uid", metavar="UID", help="if several pods had that name; default: the newest")
    parser.add_argument("--all", action="store_true", help="a line for each process; default: many alike share one")
    parser.add_argument("--json", action="store_true", help="print the collector's answer as JSON, in one line")
    options = parser.parse_args(join_values(arguments, "--from", "--to"))
    namespace, slash, pod = options.pod.partition("/")
    if not (namespace and slash and pod) or "/" in pod:
        parser.error(f"{visible(options.pod)!r} is no pod; right would be NAMESPACE/POD, such as shop/cart-59855dd6c8-hnc27")
    return run_command("tree", lambda: _show(options, namespace, pod))


async def _show(options: argparse.Namespace, namespace: str, pod: str) -> int:
    output = Output()
    parameters = {
        "from": options.start,
        "to": options.end,
        "limit": options.limit,
        "cluster": options.cluster,
        "pod_uid": options.pod_uid,
    }
    query = [(name, str(value)) for name, value in parameters.items() if value is not None]
    access = read_access(options)
    async with Collector(access) as collector, Progress(f"asking {access.display_url}") as progress:
        tree = await collector.get(("v1", "pods", namespace, pod, "tree"), query, progress)
    if options.json:
        output.write_lines([json_line(tree.raw)])
        return OK
    if (others := tree["others"].integer) and not options.pod_uid:
        which = f"--pod-uid {visible(tree['pod_uid'].text or '')}, cluster {visible(tree['cluster'].text or '')}"
        sys.stderr.write(f"{number(others)} more pods of that name: this is {which}, the newest that matches\n")
    output.write_lines([output.paint(heading(tree))])
    output.write_lines(
        output.paint(line) for line in tree_lines(tree, fold=not options.all, line_drawing=output.has_line_drawing)
    )
    if tree["cut"].raw:
        sys.stderr.write(
            f"only the newest {number(tree['processes'].integer)} processes: use --limit for more, --from and --to for others\n"
        )
    return OK
