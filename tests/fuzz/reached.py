"""What a target's seeds and the inputs of a folder reach: lines and branches of the modules in `COVERS`.

`python -m tests.fuzz.reached TARGET CORPUS`
"""

from __future__ import annotations

import importlib
import io
import sys
from pathlib import Path

import coverage

from tests.fuzz.recorded import ROOT


def main(name: str, corpus: str) -> None:
    measured = coverage.Coverage(data_file=None, branch=True, source=[str(ROOT)])
    measured.start()
    target = importlib.import_module(f"tests.fuzz.{name}")
    for data in [*target.SEEDS, *(file.read_bytes() for file in sorted(Path(corpus).iterdir()))]:
        target.check(data)
    measured.stop()
    paths = [str(ROOT / part.replace(".", "/")) for part in target.COVERS]
    include = [ending for path in paths for ending in (f"{path}.py", f"{path}/__init__.py")]
    report = io.StringIO()
    total = measured.report(include=include, file=report)
    sys.stdout.write(f"{report.getvalue()}{name}: {total:.0f} % of lines and branches\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
