"""A release's parts, read as those who take them do: the chart as an OCI archive, the bill of materials of an image."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from pathlib import Path

from dev.release import __main__ as release
from dev.release.oci_chart import oci_archive
from dev.release.sbom import bill_of_materials
from wire import VERSION

STATUS = """Package: libc6
Status: install ok installed
Architecture: amd64
Version: 2.41-12

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1:2

Package: python3
Status: install ok installed
Architecture: amd64
Version: 3.13.5-1+b1
"""
METADATA = "Metadata-Version: 2.4\nName: Some.Package_x\nVersion: 1.2\nLicense-Expression: MIT\n\nIts text\n"


def tar_of(files: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as bundle:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            bundle.addfile(info, io.BytesIO(data))
    return made.getvalue()


def image(folder: Path, name: str) -> None:
    layer = tar_of(
        {
            "./var/lib/dpkg/status": STATUS.encode(),
            "./usr/local/lib/python3.13/dist-packages/some_package_x-1.2.dist-info/METADATA": METADATA.encode(),
        }
    )
    config = {"architecture": "amd64", "config": {}}
    manifest = [{"Config": "abc.json", "RepoTags": [f"ghcr.io/forklore/{name}:{VERSION}"], "Layers": ["1/layer.tar"]}]
    parts = {"manifest.json": json.dumps(manifest), "abc.json": json.dumps(config)}
    (folder / f"{name}.tar").write_bytes(tar_of({"1/layer.tar": layer, **{key: text.encode() for key, text in parts.items()}}))


def package() -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as bundle:
        for name, text in (
            ("forklore/Chart.yaml", b"name: forklore\nversion: 1.2.3+x\n"),
            ("forklore/a/Chart.yaml", b"name: a\n"),
        ):
            info = tarfile.TarInfo(name)
            info.size = len(text)
            bundle.addfile(info, io.BytesIO(text))
    return made.getvalue()


def test_a_bill_of_materials_has_what_is_installed_with_package_urls(tmp_path):
    image(tmp_path, "agent")
    bill = bill_of_materials(tmp_path / "agent.tar", "2026-11-28T00:00:00Z")
    assert [one["purl"] for one in bill["components"]] == [
        "pkg:deb/debian/libc6@2.41-12?arch=amd64&distro=debian-13",
        "pkg:deb/debian/python3@3.13.5-1%2Bb1?arch=amd64&distro=debian-13",
        "pkg:pypi/some-package-x@1.2",
    ]
    assert bill["components"][2]["licenses"] == [{"expression": "MIT"}]
    whole = bill["metadata"]["component"]
    assert (whole["name"], whole["version"]) == ("ghcr.io/forklore/agent", VERSION)
    assert bill["serialNumber"] == bill_of_materials(tmp_path / "agent.tar", "another")["serialNumber"]


def test_each_digest_of_the_chart_s_archive_is_of_a_blob_in_it():
    given = package()
    with tarfile.open(fileobj=io.BytesIO(oci_archive(given))) as bundle:
        files = {one.name: bundle.extractfile(one).read() for one in bundle}
    (entry,) = json.loads(files["index.json"])["manifests"]
    assert entry["annotations"]["org.opencontainers.image.ref.name"] == "1.2.3_x"

    def blob(descriptor: dict) -> bytes:
        data = files[f"blobs/{descriptor['digest'].replace(':', '/')}"]
        assert (descriptor["size"], descriptor["digest"]) == (len(data), f"sha256:{hashlib.sha256(data).hexdigest()}")
        return data

    manifest = json.loads(blob(entry))
    assert json.loads(blob(manifest["config"]))["name"] == "forklore"
    assert [blob(layer) for layer in manifest["layers"]] == [given]


def test_the_one_tar_has_all_parts_and_their_checksums_are_right(tmp_path):
    for name in ("agent", "collector"):
        image(tmp_path, name)
    (tmp_path / "forklore-1.tgz").write_bytes(package())
    bundle = release.release(tmp_path, tmp_path / "forklore-1.tgz", tmp_path / "out")
    (tmp_path / "there").mkdir()
    subprocess.run(["tar", "-xf", bundle, "-C", tmp_path / "there"], check=True)
    folder = tmp_path / "there" / f"forklore-{VERSION}-amd64"
    assert subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=folder, check=False).returncode == 0
    listed = {line.split("  ")[1] for line in (folder / "SHA256SUMS").read_text().splitlines()}
    there = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}
    assert there == listed | {"SHA256SUMS"} >= {"images/forklore-agent.tar", "forklore-1.oci.tar", "install.md"}
