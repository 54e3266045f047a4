"""`forklore collector certificates`: makes a CA and the servers' certificates, and renews them when it is run again.

Exit codes: 0 they are as they should be, 64 wrong usage, 69 they can't be read or written.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from collector.certificates.authority import Renewal, Terms, renew
from collector.certificates.places import KINDS, Changed, Folder, KubernetesObject, Place, PlaceError

__all__ = ["main"]

OK: Final = 0
USAGE: Final = 64
UNAVAILABLE: Final = 69
_TRIES: Final = 5  # while somebody else writes to the same place


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        "forklore collector certificates",
        description="Makes a CA (ca.crt, ca.key) and certificates (NAME.crt, NAME.key) that it signs; run again, once a day, "
        "it renews what ends soon. Clients trust ca.crt.",
    )
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--folder", type=Path, metavar="DIR", help="where they are kept")
    place.add_argument("--secret", type=_object, metavar="NAMESPACE/NAME", help="the Kubernetes Secret where they are kept")
    parser.add_argument(
        "--server", type=_server, action="append", required=True, metavar="NAME=HOST[,HOST...]",
        help="a certificate, and the host names and addresses that it is for; may be given more than once",
    )  # fmt: skip
    parser.add_argument(
        "--copy", type=_copy, action="append", default=[], metavar="KIND/NAMESPACE/NAME=FILE[,FILE...]",
        help="a secret or configmap (KIND) for pods that must not have the CA's key; may be given more than once",
    )  # fmt: skip
    parser.add_argument("--days", type=_days, default=90, metavar="N", help="a certificate is valid for; default: 90")
    parser.add_argument("--ca-days", type=_days, default=3650, metavar="N", help="a CA is valid for; default: 3650")
    try:
        chosen = parser.parse_args(argv)
    except SystemExit as done:
        return USAGE if done.code else OK
    if chosen.ca_days <= chosen.days:
        sys.stderr.write("forklore collector certificates: --ca-days must be more than --days\n")
        return USAGE
    kept: Place = Folder(chosen.folder) if chosen.folder else KubernetesObject("secret", *chosen.secret)
    terms = Terms(timedelta(days=chosen.days), timedelta(days=chosen.ca_days))
    for _ in range(_TRIES):
        try:
            renewal = _renew(kept, dict(chosen.server), terms)
            for place, names in chosen.copy:
                _copy_files(renewal.files, names, place)
        except Changed:
            continue
        except (PlaceError, ValueError) as error:
            sys.stderr.write(f"forklore collector certificates: {error}\n")
            return UNAVAILABLE
        lines = [f"made {line}" for line in renewal.made] or ["nothing to do: all are valid for long enough"]
        sys.stdout.write("\n".join(lines) + "\n")
        return OK
    sys.stderr.write("forklore collector certificates: somebody else writes there all the time\n")
    return UNAVAILABLE


def _renew(place: Place, servers: Mapping[str, Sequence[str]], terms: Terms) -> Renewal:
    files, version = place.read()
    renewal = renew(files, servers, datetime.now(UTC), terms)
    if renewal.made:
        place.write(renewal.files, version)
    return renewal


def _copy_files(files: Mapping[str, bytes], names: Sequence[str], place: Place) -> None:
    """Raises ValueError when there is no such file."""
    if missing := [name for name in names if name not in files]:
        raise ValueError(f"--copy: there is no {missing[0]}; there are {', '.join(sorted(files))}")
    wanted = {name: files[name] for name in names}
    there, version = place.read()
    if {name: there.get(name) for name in names} != wanted:
        place.write(wanted, version)


def _copy(text: str) -> tuple[Place, tuple[str, ...]]:
    kind, _, rest = text.partition("/")
    target, _, names = rest.partition("=")
    if kind not in KINDS or not names or not all(names.split(",")):
        raise argparse.ArgumentTypeError("right would be secret/NAMESPACE/NAME=FILE or configmap/NAMESPACE/NAME=FILE,FILE")
    return KubernetesObject(kind, *_object(target)), tuple(names.split(","))


def _object(text: str) -> tuple[str, str]:
    namespace, _, name = text.partition("/")
    if not namespace or not name or "/" in name:
        raise argparse.ArgumentTypeError("right would be NAMESPACE/NAME")
    return namespace, name


def _server(text: str) -> tuple[str, tuple[str, ...]]:
    name, _, hosts = text.partition("=")
    if not name.isidentifier() or name == "ca" or not hosts or not all(hosts.split(",")):
        raise argparse.ArgumentTypeError("right would be NAME=HOST,HOST, such as tls=forks.example,127.0.0.1; NAME is not ca")
    return name, tuple(dict.fromkeys(hosts.split(",")))


def _days(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 36500):
        raise argparse.ArgumentTypeError("right would be a number from 1 to 36500")
    return int(text)
