"""Third-party receivers, started once for all tests. What they accept and their warnings are in files."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.authorities import environment_of_machine

from .processes import Osmem, Tenzir

ROOT = Path(__file__).parents[2]
TOKEN = "0a1b2c3d-0a1b-2c3d-4e5f-0a1b2c3d4e5f"


@pytest.fixture(scope="session", autouse=True)
def _receivers() -> None:
    """Skips with a reason where they are not available."""
    done = subprocess.run(
        [ROOT / "dev/setup/receivers"], env=environment_of_machine(), capture_output=True, text=True, timeout=300, check=False
    )
    if done.returncode == 69:
        pytest.skip(done.stderr.strip().rpartition("\n")[2])
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("receivers")


@pytest.fixture(scope="session")
def tenzir(_receivers: None, folder: Path) -> Iterator[Callable[[str], Tenzir]]:
    """Starts a pipeline, which runs until the last test has ended."""
    with ExitStack() as running:
        yield lambda pipeline: running.enter_context(Tenzir(folder, pipeline))


@pytest.fixture(scope="session")
def hec(tenzir: Callable[[str], Tenzir]) -> Tenzir:
    """Tenzir's HTTP Event Collector, which accepts decompressed bodies of at most 16 KiB."""
    return tenzir(f'accept_splunk "127.0.0.1:PORT", hec_token="{TOKEN}", max_request_size=16384')


@pytest.fixture(scope="session")
def otlp(tenzir: Callable[[str], Tenzir]) -> Tenzir:
    """Accepts bodies of at most 64 KiB."""
    return tenzir('accept_otlp "127.0.0.1:PORT", transport="http", signals=["logs"], max_message_size=65536')


@pytest.fixture(scope="session")
def plain(tenzir: Callable[[str], Tenzir]) -> Tenzir:
    """Accepts lines of JSON at any path."""
    return tenzir('accept_http "127.0.0.1:PORT" { read_ndjson }')


@pytest.fixture(scope="session")
def osmem(_receivers: None, folder: Path) -> Iterator[Osmem]:
    with Osmem(folder) as here:
        yield here
