"""The tests that guests run import only what a guest has: Debian's Python and the packages of dev/requirements/guest.txt."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

from tests.guests.columns import chosen

ROOT = Path(__file__).parents[2]
# Refuses to import the packages that its arguments before `--` name, and imports the modules after it.
IMPORTING = """
import importlib, sys
at = sys.argv.index("--")
absent, modules = set(sys.argv[1:at]), sys.argv[at + 1:]
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"a guest has no {name}")
sys.meta_path.insert(0, Absent())
for module in modules:
    importlib.import_module(module)
"""


def locked(name: str) -> set[str]:
    return set(re.findall(r"^([\w.-]+)==", (ROOT / f"dev/requirements/{name}.txt").read_text(), re.MULTILINE))


def test_a_guest_has_what_its_tests_import() -> None:
    absent = locked("dev") - locked("guest")
    names = {re.sub(r"[-_.]+", "-", name).lower() for name in absent}
    blocked = [
        package
        for package, found in packages_distributions().items()
        if all(re.sub(r"[-_.]+", "-", name).lower() in names for name in found)
    ]
    files = {test.partition("::")[0] for test in chosen(closely=True)}
    modules = [
        "tests.conftest",
        "tests.kernel.conftest",
        *(file.removesuffix(".py").replace("/", ".") for file in sorted(files)),
    ]
    assert {"chdb", "clickhouse_connect"} <= set(blocked)
    done = subprocess.run(
        [sys.executable, "-c", IMPORTING, *blocked, "--", *modules], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr.splitlines()[-1]
