"""What is in the images and what is not, read from the archives that `make image` leaves."""

from __future__ import annotations

import io
import json
import re
import tarfile
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dev.release.sbom import bill_of_materials
from wire import VERSION

from .conftest import ROOT, archive

if TYPE_CHECKING:
    from tests.charts.conftest import Chart

pytestmark = pytest.mark.images
IMAGES = ("agent", "collector")
# Compilers and linkers; what speaks to a network; what installs packages.
TOOLS = {
    "as", "c++", "cc", "clang", "cpp", "g++", "gcc", "ld", "llc", "make", "tcc",
    "curl", "ftp", "nc", "ncat", "nmap", "openssl", "ping", "rsync", "socat", "ssh", "telnet", "wget",
    "apt", "apt-get", "pip", "pip3", "perl",
}  # fmt: skip


class Image:
    def __init__(self, file: Path) -> None:
        with tarfile.open(file) as bundle:
            (manifest,) = json.load(self._part(bundle, "manifest.json"))
            self.description: dict[str, Any] = json.load(self._part(bundle, manifest["Config"]))
            self.names: list[str] = manifest["RepoTags"]
            self.config: dict[str, Any] = self.description["config"]
            (layer,) = manifest["Layers"]
            self.layer = tarfile.open(fileobj=io.BytesIO(self._part(bundle, layer).read()))  # noqa: SIM115
            self.files = {f"/{member.name.removeprefix('./')}": member for member in self.layer.getmembers()}

    def _part(self, bundle: tarfile.TarFile, name: str) -> io.BufferedReader:
        part = bundle.extractfile(name)
        assert part is not None
        return part  # type: ignore[return-value]

    def read(self, path: str) -> bytes:
        return self._part(self.layer, self.files[path].name).read()

    @cached_property
    def packages(self) -> dict[str, str]:
        """PyPI's, by normal name, as a scanner finds them."""
        found = [
            re.fullmatch(r"/usr/local/lib/python3\.13/dist-packages/(.+)-([^-]+)\.dist-info/METADATA", one)
            for one in self.files
        ]
        return {one[1].lower().replace("_", "-").replace(".", "-"): one[2] for one in found if one}

    @cached_property
    def debian(self) -> set[str]:
        return set(re.findall(r"^Package: (.+)$", self.read("/var/lib/dpkg/status").decode(), re.MULTILINE))


@pytest.fixture(scope="module", params=IMAGES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def image(name: str) -> Image:
    return Image(archive(name))


def locked(name: str) -> dict[str, str]:
    """What the lock says for this Python on Linux."""
    lines = (ROOT / f"dev/requirements/{name}.txt").read_text().splitlines()
    pins = [re.match(r"([a-z0-9-]+)==([^ ;\\]+)( *;.*)?", line) for line in lines]
    return {pin[1]: pin[2] for pin in pins if pin and "win32" not in (pin[3] or "")}


def test_it_has_no_compiler_no_installer_and_no_network_tool(image: Image) -> None:
    programs = {Path(path).name for path in image.files if Path(path).parent.name in {"bin", "sbin"}}
    assert {"forklore", "python3", "sh"} <= programs
    assert not programs & TOOLS
    assert not [path for path in image.files if "/dist-packages/pip/" in path or "/ensurepip/" in path]
    assert not image.debian & {"apt", "gcc", "binutils", "python3-pip", "perl-base", "curl"}


def test_no_program_in_it_changes_its_user(image: Image) -> None:
    assert not [path for path, member in image.files.items() if member.isfile() and member.mode & 0o6000]


def test_it_holds_the_packages_of_its_lock_and_lists_them(image: Image, name: str) -> None:
    assert image.packages == locked(name) | {"forklore": VERSION}
    assert {"python3.13", "libc6", "ca-certificates"} <= image.debian
    assert ("python3-bpfcc" in image.debian) == (name == "agent")


def test_its_bill_of_materials_lists_what_it_holds(image: Image, name: str) -> None:
    bill = bill_of_materials(archive(name), "2026-11-28T00:00:00Z")
    purls = {one["purl"] for one in bill["components"]}
    assert {purl for purl in purls if purl.startswith("pkg:pypi/")} == {
        f"pkg:pypi/{one[0]}@{one[1]}" for one in image.packages.items()
    }
    assert {one["name"] for one in bill["components"] if one["purl"].startswith("pkg:deb/")} == image.debian


def test_each_image_has_only_its_own_packages(image: Image, name: str) -> None:
    home = "/usr/local/lib/python3.13/dist-packages"
    parts = {part for part in ("agent", "cli", "collector", "dev", "wire") if f"{home}/{part}/__init__.py" in image.files}
    assert parts == {name, "cli", "wire"}
    assert (f"{home}/cli/top/__init__.py" in image.files) == (name == "collector")
    record = image.read(f"{home}/forklore-{VERSION}.dist-info/RECORD").decode()
    missing = [line.split(",")[0] for line in record.splitlines() if f"{home}/{line.split(',')[0]}" not in image.files]
    assert [path for path in missing if not path.startswith("../")] == []
    assert (f"{home}/agent/bpf/fork.c" in image.files) == (name == "agent")


def test_python_finds_its_bytecode_whatever_the_files_times_are(image: Image) -> None:
    """PEP 552: the second word of a .pyc is 1 where it is taken unchecked. A root that is read-only gets no other."""
    compiled = [path for path in image.files if path.endswith(".pyc") and ("/wire/" in path or "/asyncio/" in path)]
    assert len(compiled) > 20
    assert {image.read(path)[4:8] for path in compiled} == {b"\1\0\0\0"}
    sources = [path for path in image.files if path.startswith("/usr/local/lib/") and path.endswith(".py")]
    without = [one for one in sources if f"{Path(one).parent}/__pycache__/{Path(one).stem}.cpython-313.pyc" not in image.files]
    assert not without


def test_its_labels_describe_it(image: Image, name: str, chart: Chart) -> None:
    labels = image.config["Labels"]
    assert labels["org.opencontainers.image.version"] == VERSION
    assert labels["org.opencontainers.image.licenses"] == ("Apache-2.0 AND GPL-2.0-only" if name == "agent" else "Apache-2.0")
    assert re.fullmatch(r"[0-9a-f]{40}|", labels["org.opencontainers.image.revision"])
    assert image.config["Entrypoint"] == ["forklore", name]
    user = chart.render("collector").get("StatefulSet", "forklore-collector")["spec"]["template"]["spec"]["containers"][0]
    assert image.config.get("User", "") == ("" if name == "agent" else "65532:65532")
    assert user["securityContext"]["runAsUser"] == 65532


def test_the_chart_asks_for_it_by_its_name(image: Image, chart: Chart) -> None:
    pods = chart.render(values={"collector": {"enabled": True}}).pods()
    assert set(image.names) <= {one["image"] for pod in pods for one in pod.containers()}


def test_it_holds_nothing_of_the_machine_that_built_it(image: Image) -> None:
    for place in ("/etc/pip.conf", "/run/secrets/ca", "/run/secrets/pip", "/strip", "/src", "/root/.config", "/root/.cache"):
        assert place not in image.files
    assert not [one for one in image.config["Env"] if "proxy" in one.lower() or not one.startswith("PATH=")]
    allowed = {"deb.debian.org", "github.com", "docker.io"}
    text = json.dumps(image.description) + "".join(
        image.read(path).decode(errors="replace")
        for path, member in image.files.items()
        if path.startswith("/etc/apt/") and member.isfile()
    )
    assert set(re.findall(r"https?://([\w.-]+)", text)) <= allowed


def test_it_is_one_layer(image: Image) -> None:
    """What a later layer deletes is still carried by the one before."""
    assert len(image.description["rootfs"]["diff_ids"]) == 1
