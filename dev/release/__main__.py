"""Puts a release together out of what `make image` and `helm package` made.

    python -m dev.release IMAGES PACKAGE.tgz INTO

IMAGES is the folder with agent.tar and collector.tar. INTO gets a folder `forklore-VERSION-ARCH` and a tar of it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import tarfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from dev.release.oci_chart import oci_archive
from dev.release.sbom import bill_of_materials
from wire import VERSION

__all__ = ["release"]

ROOT: Final = Path(__file__).parents[2]
_IMAGES: Final = ("agent", "collector")


def release(images: Path, package: Path, into: Path) -> Path:
    """The tar. What was there of this version before is replaced."""
    moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    bills = {name: bill_of_materials(images / f"{name}.tar", moment) for name in _IMAGES}
    (architecture,) = {one["metadata"]["component"]["properties"][0]["value"] for one in bills.values()}
    name = f"forklore-{VERSION}-{architecture}"
    folder = into / name
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "images").mkdir(parents=True)
    (folder / "sbom").mkdir()
    for image, bill in bills.items():
        shutil.copyfile(images / f"{image}.tar", folder / f"images/forklore-{image}.tar")
        (folder / f"sbom/forklore-{image}.cdx.json").write_text(json.dumps(bill, indent=1) + "\n")
    shutil.copyfile(package, folder / package.name)
    (folder / f"{package.stem}.oci.tar").write_bytes(oci_archive(package.read_bytes()))
    shutil.copyfile(ROOT / "docs/install.md", folder / "install.md")
    shutil.copyfile(ROOT / "LICENSE", folder / "LICENSE")
    (folder / "SHA256SUMS").write_text("".join(_sums(folder)))
    bundle = into / f"{name}.tar"
    with tarfile.open(bundle, "w") as tar:
        tar.add(folder, name, filter=_plain)
    return bundle


def _sums(folder: Path) -> list[str]:
    """As `sha256sum --check` reads them."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.relative_to(folder)}\n" for file in files]


def _plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = 0
    info.uname = info.gname = "root"
    return info


if __name__ == "__main__":
    sys.stdout.write(f"{release(*(Path(one) for one in sys.argv[1:4]))}\n")
