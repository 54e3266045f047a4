"""What all three commands are told in the same way: which collector, how to be let in, and which forks.

`FORKLORE_COLLECTOR`, `FORKLORE_TOKEN_FILE` and `FORKLORE_CA_FILE` stand in for the options. Must not live here: what one
command alone is told.
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

from cli.client.errors import EXIT_CODES, WRONG_SETTINGS, Trouble
from wire import units
from wire.names import visible

__all__ = ["ENVIRONMENT", "Access", "access_of", "asked", "fork_filters", "joined", "new_parser", "pod_filters", "time_text"]

USUAL: Final = "http://127.0.0.1:9910"
ENVIRONMENT: Final = ("FORKLORE_COLLECTOR", "FORKLORE_TOKEN_FILE", "FORKLORE_CA_FILE")
_MOMENT: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d)(:\d\d(?:\.\d{1,9})?)?(Z|[+-]\d\d:\d\d)?)?", re.ASCII | re.IGNORECASE
)

# Option, what stands for its value, what it says; the query's name is the option's.
_OF_PODS: Final = (
    ("cluster", "NAME", "of this cluster"),
    ("namespace", "NAME", "of this namespace"),
    ("workload", "[KIND/]NAME", "of this workload, such as Deployment/cart"),
    ("node", "NAME", "on this node"),
    ("text", "TEXT", "with this somewhere in its names: cluster, node, namespace, pod, uid, workload, container"),
)
_OF_FORKS: Final = (
    ("pod", "NAME", "of this pod"),
    ("pod-uid", "UID", "of the pod with this uid"),
    ("comm", "COMM", "of a process that is called exactly so"),
    ("parent-comm", "COMM", "out of a process that is called exactly so"),
    ("kind", "KIND", "process or thread"),
    ("pid", "PID", "of a child or parent with this pid, on the host or in the pod"),
    ("entity", "ID", "of a child or parent with this process_entity_id, 16 hex digits"),
)


class Access(NamedTuple):
    """`url`: without a slash at its end. `shown`: the same, without a password in it."""

    url: str
    shown: str
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
    group.add_argument("--collector", metavar="URL", help=f"default: $FORKLORE_COLLECTOR, else {USUAL}")
    group.add_argument("--token-file", type=Path, metavar="FILE", help="the bearer token; default: $FORKLORE_TOKEN_FILE")
    group.add_argument(
        "--ca-file", type=Path, metavar="FILE", help="CAs (PEM) instead of the system's; default: $FORKLORE_CA_FILE"
    )
    return parser


def pod_filters(parser: argparse.ArgumentParser) -> None:
    _filters(parser, _OF_PODS, "which pods (all that is given must hold)")


def fork_filters(parser: argparse.ArgumentParser) -> None:
    _filters(parser, _OF_PODS + _OF_FORKS, "which forks (all that is given must hold)")


def asked(options: argparse.Namespace) -> list[tuple[str, str]]:
    """The filters as a query."""
    names = [name.replace("-", "_") for name, _, _ in _OF_PODS + _OF_FORKS]
    said = [(name, str(value)) for name in names if (value := getattr(options, name, None))]
    return said + [("label", label) for label in options.label or ()]


def access_of(options: argparse.Namespace, environment: Mapping[str, str] = os.environ) -> Access:
    """Raises `Trouble` when an address is none."""
    name, value = "--collector", options.collector
    if not value:
        name, value = ENVIRONMENT[0], environment.get(ENVIRONMENT[0]) or USUAL
    url = value.strip() if "://" in value else f"http://{value.strip()}"
    parts = _parts(url)
    if parts is None:
        raise Trouble(
            WRONG_SETTINGS, f"{name} is {visible(value)!r}; right would be an address such as {USUAL} or https://forks.example"
        )
    if parts.username is not None and (options.token_file or environment.get(ENVIRONMENT[1])):
        raise Trouble(WRONG_SETTINGS, f"{name} has a user in it, and there is a token, too: one of them can be shown, not both")
    shown = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    files = [
        given or (Path(said) if (said := environment.get(variable)) else None)
        for given, variable in zip((options.token_file, options.ca_file), ENVIRONMENT[1:], strict=True)
    ]
    return Access(url.rstrip("/"), visible(shown.rstrip("/")), files[0], files[1])


def time_text(text: str) -> str:
    """A time as the collector takes it: `now`, `-15m` (or `15m`), or RFC 3339, of which all behind the day may be left out; it
    is UTC where no offset is given. For argparse's `type`."""
    text = text.strip()
    if text == "now":
        return text
    if units.is_offset(text):
        return f"-{text.removeprefix('-')}"
    if found := _MOMENT.fullmatch(text):
        day, minute, second, offset = found.groups()
        told = f"{day}T{minute or '00:00'}{second or ':00'}{(offset or 'Z').upper()}"
        with suppress(ValueError):
            datetime.fromisoformat(f"{told[:19]}+00:00")
            return told
    raise argparse.ArgumentTypeError(
        f"{visible(text[:60])} is no time; right would be -15m (ms, s, m, h, d, w), now, or 2026-11-22T19:48:30Z"
    )


def joined(arguments: Sequence[str], *names: str) -> list[str]:
    """`--from -15m` as `--from=-15m`: argparse would take the second for an option."""
    told: list[str] = []
    for argument in arguments:
        if told and told[-1] in names and units.is_offset(argument):
            told[-1] += f"={argument}"
        else:
            told.append(argument)
    return told


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
        port = parts.port  # reading it is what checks it
    except ValueError:
        return None
    known = parts.scheme in ("http", "https") and parts.hostname and port != 0
    return parts if known and not (parts.query or parts.fragment) and url.isprintable() and " " not in url else None
