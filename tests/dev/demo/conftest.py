"""What the tests of the demo share: seeing what was left behind, without minding what others on the machine do meanwhile."""

import time
from pathlib import Path

import pytest

from agent.kernel.pins import BPF_FS
from dev.demo.containers import leftovers


class Traces:
    """What `root`'s containers and processes could leave, since this was made."""

    def __init__(self, root):
        self.root = root
        self._before = self._cgroups()
        self._pins_before = set(BPF_FS.glob("forklore-demo-*"))

    def pins(self):
        """Where demos that began since pinned their capture."""
        return set(BPF_FS.glob("forklore-demo-*")) - self._pins_before

    def _cgroups(self):
        return {place for mount in leftovers.hierarchies() for place in mount.glob("kubepods*/**/")}

    def cgroups(self):
        """New directories below kubepods without any process in or below them."""
        return {place for place in self._cgroups() - self._before if not list(leftovers.processes(place))}

    def processes(self):
        """Running processes with the root on their command line (a zombie has none)."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if str(self.root).encode() in (process / "cmdline").read_bytes():
                    found.append(process.name)
            except OSError:
                continue
        return found

    def mounts(self):
        return [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(self.root) in line]

    def _all(self):
        return [*self.cgroups(), *self.processes(), *self.mounts(), *self.pins()]

    def found(self, seconds=20.0):
        """All of them, after as many seconds as it takes until there are none."""
        deadline = time.monotonic() + seconds
        while (traces := self._all()) and time.monotonic() < deadline:
            time.sleep(0.05)
        return traces


@pytest.fixture
def traces(tmp_path):
    return Traces(tmp_path)
