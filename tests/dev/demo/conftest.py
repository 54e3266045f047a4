"""Finds what the demo left behind, and ignores what other programs on the machine do meanwhile."""

import time
from pathlib import Path

import pytest

from agent.kernel.pins import BPF_FS
from dev.demo.containers import leftovers


class Traces:
    """What the containers and processes of `root` left behind since this object was created."""

    def __init__(self, root):
        self.root = root
        self._before = self._cgroups()
        self._pins_before = set(BPF_FS.glob("forklore-demo-*"))

    def pins(self):
        """The pin folders of demos that started since."""
        return set(BPF_FS.glob("forklore-demo-*")) - self._pins_before

    def _cgroups(self):
        tops = [top for mount in leftovers.hierarchies() for top in mount.glob("kubepods*")]
        return {directory for top in tops for directory in leftovers.walk(top)}

    def cgroups(self):
        """New directories below kubepods without a process in or below them."""
        return {new for new in self._cgroups() - self._before if not list(leftovers.processes(new))}

    def processes(self):
        """Running processes with the root in their command line (a zombie has none)."""
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
        """All of them, as soon as there are none, or after so many seconds."""
        deadline = time.monotonic() + seconds
        while (traces := self._all()) and time.monotonic() < deadline:
            time.sleep(0.05)
        return traces


@pytest.fixture
def traces(tmp_path):
    return Traces(tmp_path)
