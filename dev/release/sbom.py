"""A CycloneDX 1.5 bill of materials of an image, from what its package managers noted in it.

Debian's packages are in /var/lib/dpkg/status, PyPI's in the METADATA of each .dist-info. Package URLs are those of
github.com/package-url/purl-spec.
"""

from __future__ import annotations

import email.parser
import json
import re
import tarfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

__all__ = ["bill_of_materials"]

_DISTRIBUTION: Final = re.compile(r"usr/local/lib/python3[^/]*/dist-packages/[^/]+\.dist-info/METADATA")
_STATUS: Final = "var/lib/dpkg/status"


def bill_of_materials(archive: Path, moment: str) -> dict[str, Any]:
    """`archive`: a docker-archive of one layer. `moment`: RFC 3339."""
    with tarfile.open(archive) as bundle:
        (manifest,) = json.load(_opened(bundle, "manifest.json"))
        config = json.load(_opened(bundle, manifest["Config"]))
        (layer,) = manifest["Layers"]
        with tarfile.open(fileobj=_opened(bundle, layer)) as files:
            components = sorted(_components(files), key=lambda one: str(one["purl"]))
    name, _, version = manifest["RepoTags"][0].rpartition(":")
    digest = f"sha256:{manifest['Config'].removesuffix('.json').rpartition('/')[2]}"
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, digest)}",
        "version": 1,
        "metadata": {
            "timestamp": moment,
            "component": {
                "type": "container",
                "bom-ref": digest,
                "name": name,
                "version": version,
                "properties": [{"name": "architecture", "value": config["architecture"]}],
            },
        },
        "components": components,
    }


def _components(files: tarfile.TarFile) -> Iterator[dict[str, Any]]:
    for member in files:
        path = member.name.removeprefix("./")
        if path == _STATUS:
            yield from _debian(_opened(files, member.name).read().decode())
        elif _DISTRIBUTION.fullmatch(path):
            yield _python(_opened(files, member.name).read().decode())


def _debian(status: str) -> Iterator[dict[str, Any]]:
    for paragraph in filter(None, status.split("\n\n")):
        package = email.parser.HeaderParser().parsestr(paragraph)
        if not package["Package"] or "installed" not in str(package["Status"]).split():
            continue
        name, version, architecture = package["Package"], package["Version"], package["Architecture"]
        yield _component(
            name, version, f"pkg:deb/debian/{quote(name)}@{quote(version, safe='')}?arch={architecture}&distro=debian-13"
        )


def _python(metadata: str) -> dict[str, Any]:
    package = email.parser.HeaderParser().parsestr(metadata)
    name, version = re.sub(r"[-_.]+", "-", package["Name"]).lower(), package["Version"]
    licence = package["License-Expression"]
    return _component(name, version, f"pkg:pypi/{name}@{version}") | (
        {"licenses": [{"expression": licence}]} if licence else {}
    )


def _component(name: str, version: str, purl: str) -> dict[str, Any]:
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


def _opened(bundle: tarfile.TarFile, name: str) -> Any:  # noqa: ANN401  a file, which typeshed calls IO[bytes] | None
    file = bundle.extractfile(name)
    if file is None:
        raise ValueError(f"{name} is no file")
    return file
