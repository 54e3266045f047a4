"""Properties of the Dockerfile for builds elsewhere. Needs neither an image nor root."""

from __future__ import annotations

import re
from pathlib import Path

from wire import VERSION

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def test_its_version_is_the_products() -> None:
    assert re.findall(r"^ARG VERSION=(.*)$", DOCKERFILE, re.MULTILINE) == [VERSION, VERSION]


def test_it_names_no_registry_but_debians() -> None:
    """Mirrors, proxies and certificates come with the build's own secrets and arguments."""
    for file in (DOCKERFILE, (ROOT / "dev/setup/strip").read_text(), (ROOT / ".dockerignore").read_text()):
        assert set(re.findall(r"https?://([\w.-]+)", file)) <= {"github.com"}
    assert re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)[0] == "${DEBIAN}"


def test_all_packages_come_by_hash_and_as_wheels() -> None:
    installs = re.findall(r"pip install ([^\n]*)", DOCKERFILE)
    assert installs and all("--require-hashes" in one or "--no-index" in one for one in installs)
    assert "PIP_ONLY_BINARY=:all:" in DOCKERFILE


def test_the_context_holds_what_is_copied_and_nothing_else() -> None:
    kept = {line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {one for line in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE) for one in line.split()} - {
        "."
    }
    assert copied <= kept
    assert all((ROOT / one).exists() for one in kept)
