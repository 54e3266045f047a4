"""`make cluster`: the chart in both privilege modes, the workloads, and a table of what was right.

Exit codes: 0 as it should be, 3 a wrong name or another count, 69 something is missing here, 77 not root.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from agent.kernel.pins import Pins
from dev.cluster import report
from dev.cluster.node.containerd import node
from dev.cluster.run import MODES, Measured, measure

ROOT: Final = Path(__file__).parents[2]
IMAGES: Final = ROOT / ".cache/image"
UNAVAILABLE, NOT_ROOT, WRONG = 69, 77, 3
_PROGRAMS: Final = ("containerd", "ctr", "runc", "/usr/lib/cni/bridge", "/bin/busybox")


def main() -> int:
    if os.geteuid() != 0:
        return _refuse("make cluster must be root: it starts containers and loads BPF programs", NOT_ROOT)
    missing = [one for one in _PROGRAMS if shutil.which(one) is None]
    missing += [str(file) for file in (IMAGES / "agent.tar", IMAGES / "collector.tar") if not file.exists()]
    if missing:
        return _refuse(f"not available: {', '.join(missing)}", UNAVAILABLE)
    version = subprocess.run(["containerd", "--version"], capture_output=True, text=True, check=True).stdout.split()[2]
    print(f"stand-in: no Kubernetes here; containerd {version}, a stand-in API server and kubelet, statuses after a second")
    if os.environ.get("KUBECONFIG"):
        print("KUBECONFIG is not used: there is only the stand-in yet")
    faults: list[str] = []
    with tempfile.TemporaryDirectory(prefix="forklore-", dir="/run") as run, node(Path(run), IMAGES / "containerd") as here:
        for mode in MODES:
            pins = Path(f"/sys/fs/bpf/forklore-cluster-{os.getpid()}-{mode}")
            try:
                measured = measure(here, IMAGES, ROOT, mode, pins)
            finally:
                _remove_pins(pins)
            _show(measured)
            faults += [f"{mode}: {one}" for one in report.verdict(measured.rows)]
    for fault in faults:
        print(f"forklore: {fault}", file=sys.stderr)
    return WRONG if faults else 0


def _show(measured: Measured) -> None:
    print(f"\n{measured.mode}:")
    for line in report.table(measured.rows):
        print(f"  {line}")
    for row in measured.rows:
        for example in dict.fromkeys(row.examples):
            print(f"  {row.kind}: {example}")
    print(f"  first event at the collector: {measured.first_event_s:.1f} s after the agent's start,", end=" ")
    print(f"{measured.from_install_s:.1f} s after the install began")


def _remove_pins(folder: Path) -> None:
    if folder.exists():
        held = Pins(folder)
        held.remove_all()
        held.close()


def _refuse(why: str, code: int) -> int:
    print(f"forklore: {why}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
