"""The options that `top`, `tree` and `tail` share: the collector's address, the token, the filters.

`FORKLORE_COLLECTOR`, `FORKLORE_TOKEN_FILE` and `FORKLORE_CA_FILE` are the defaults of the options.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import SplitResult, urlsplit

from cli.client.errors import EXIT_CODES, WRONG_SETTINGS, CommandError
from wire import units
from wire.names import visible

__all__ = [
    "ENVIRONMENT", "Access", "add_fork_filters", "add_pod_filters", "filter_query", "join_values", "new_parser", "parse_time",
    "read_access",
]  # fmt: skip

DEFAULT_URL: Final = "http://127.0.0.1:9910"
ENVIRONMENT: Final = ("FORKLORE_COLLECTOR", "FORKLORE_TOKEN_FILE", "FORKLORE_CA_FILE")
_MOMENT: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d)(:\d\d(?:\.\d{1,9})?)?(Z|[+-]\d\d:\d\d)?)?", re.ASCII | re.IGNORECASE
)

# Option (the query parameter has the same name), metavar, help.
_POD_FILTERS: Final = (
    ("cluster", "NAME", "of this cluster"),
    ("namespace", "NAME", "of this namespace"),
    ("workload", "[KIND/]NAME", "of this workload, such as Deployment/cart"),
    ("node", "NAME", "on this node"),
    ("text", "TEXT", "with this in one of its names: cluster, node, namespace, pod, uid, workload, container"),
)
_FORK_FILTERS: Final = (
    ("pod", "NAME", "of this pod"),
    ("pod-uid", "UID", "of the pod with this uid"),
    ("comm", "COMM", "of a process with exactly this name"),
    ("parent-comm", "COMM", "of a parent with exactly this name"),
    ("kind", "KIND", "process or thread"),
    ("pid", "PID", "of a child or parent with this pid, on the host or in the pod"),
    ("entity", "ID", "of a child or parent with this process_entity_id, 16 hex digits"),
)


class Access(NamedTuple):
    """`url`: without a trailing slash. `display_url`: the same, without its password."""

    url: str
    display_url: str
    token_file: Path | None
    ca_file: Path | None


def new_parser(name: str, description: str, epilog: str = "") -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"forklore {name}",
        description=description,
        epilog=f"{epilog}\n\n{EXIT_CODES}".lstrip(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    group = parser.add_argument_group("the collector")
    group.add_argument("--collector", metavar="URL", help=f"default: $FORKLORE_COLLECTOR, else {DEFAULT_URL}")
    group.add_argument("--token-file", type=Path, metavar="FILE", help="the bearer token; default: $FORKLORE_TOKEN_FILE")
    group.add_argument(
        "--ca-file", type=Path, metavar="FILE", help="CAs (PEM) instead of the system's; default: $FORKLORE_CA_FILE"
    )
    return parser


def add_pod_filters(parser: argparse.ArgumentParser) -> None:
    _filters(parser, _POD_FILTERS, "which pods (all given filters must match)")


def add_fork_filters(parser: argparse.ArgumentParser) -> None:
    _filters(parser, _POD_FILTERS + _FORK_FILTERS, "which forks (all given filters must match)")


def filter_query(options: argparse.Namespace) -> list[tuple[str, str]]:
    """The filters as query parameters."""
    names = [name.replace("-", "_") for name, _, _ in _POD_FILTERS + _FORK_FILTERS]
    pairs = [(name, str(value)) for name in names if (value := getattr(options, name, None))]
    return pairs + [("label", label) for label in options.label or ()]


def read_access(options: argparse.Namespace, environment: Mapping[str, str] = os.environ) -> Access:
    """Raises `CommandError` when the address is invalid."""
    name, value = "--collector", options.collector
    if not value:
        name, value = ENVIRONMENT[0], environment.get(ENVIRONMENT[0]) or DEFAULT_URL
    url = value.strip() if "://" in value else f"http://{value.strip()}"
    parts = _parts(url)
    if parts is None:
        raise CommandError(
            WRONG_SETTINGS,
            f"{name} is {visible(value)!r}; right would be an address such as {DEFAULT_URL} or https://forks.example",
        )
    if parts.username is not None and (options.token_file or environment.get(ENVIRONMENT[1])):
        raise CommandError(WRONG_SETTINGS, f"{name} contains a user, and there is a token too: only one of them can be sent")
    display_url = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    files = [
        given or (Path(value) if (value := environment.get(variable)) else None)
        for given, variable in zip((options.token_file, options.ca_file), ENVIRONMENT[1:], strict=True)
    ]
    return Access(url.rstrip("/"), visible(display_url.rstrip("/")), files[0], files[1])


def parse_time(text: str) -> str:
    """A time as the collector accepts it: `now`, `-15m` (or `15m`), or RFC 3339, of which everything after the day may be
    omitted; without an offset it is UTC. For argparse's `type`."""
    text = text.strip()
    if text == "now":
        return text
    if units.is_offset(text):
        return f"-{text.removeprefix('-')}"
    if found := _MOMENT.fullmatch(text):
        day, minute, second, offset = found.groups()
        stamp = f"{day}T{minute or '00:00'}{second or ':00'}{(offset or 'Z').upper()}"
        with suppress(ValueError):
            datetime.fromisoformat(f"{stamp[:19]}+00:00")
            return stamp
    raise argparse.ArgumentTypeError(
        f"{visible(text[:60])} is no time; right would be -15m (ms, s, m, h, d, w), now, or 2026-11-22T19:48:30Z"
    )


def join_values(arguments: Sequence[str], *names: str) -> list[str]:
    """`--from -15m` becomes `--from=-15m`: argparse would read `-15m` as an option."""
    result: list[str] = []
    for argument in arguments:
        if result and result[-1] in names and units.is_offset(argument):
            result[-1] += f"={argument}"
        else:
            result.append(argument)
    return result


def _filters(parser: argparse.ArgumentParser, options: Sequence[tuple[str, str, str]], title: str) -> None:
    group = parser.add_argument_group(title)
    for name, metavar, text in options:
        if name == "kind":
            group.add_argument("--kind", choices=("process", "thread"), help="process or thread")
        elif name == "pid":
            group.add_argument("--pid", type=int, metavar=metavar, help=text)
        else:
            group.add_argument(f"--{name}", metavar=metavar, help=text)
    group.add_argument(
        "--label", action="append", metavar="KEY=VALUE", help="of a pod with this label; may be given more than once"
    )


def _parts(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        port = parts.port  # reading it checks it
    except ValueError:
        return None
    known = parts.scheme in ("http", "https") and parts.hostname and port != 0
    return parts if known and not (parts.query or parts.fragment) and url.isprintable() and " " not in url else None
