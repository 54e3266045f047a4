"""A container's root file system, its cgroup path, and the OCI bundle that runc reads."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

Driver = Literal["cgroupfs", "systemd"]
Qos = Literal["guaranteed", "burstable", "besteffort"]

BUSYBOX = Path("/bin/busybox")  # Debian's busybox-static: statically linked, so it runs in an otherwise empty root
MOUNT_POINTS = ("dev", "etc", "proc", "run", "sys", "tmp", "usr", "work")  # the root is read-only: runc can't create them later
OPEN_FILES = 1024  # what most distributions give a login; our workloads use a few dozen
PIDS = 512  # bounds a fork bomb in a demo workload

# What Docker and containerd grant by default.
ORDINARY_CAPABILITIES = (
    *("CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_MKNOD"),
    *("CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT"),
)
# What nested namespaces, mounts and tracing need as well. Not "all": the machine may lack some of them.
NESTING_CAPABILITIES = ("CAP_NET_ADMIN", "CAP_SYS_ADMIN", "CAP_SYS_PTRACE")


class UnavailableError(Exception):
    """Something that a container needs is not installed; `package` is the Debian package that has it."""

    def __init__(self, package: str, missing: str) -> None:
        super().__init__(f"{package}: {missing} is missing")
        self.package = package


def cgroups_path(pod_uid: str, container_id: str, *, qos: Qos = "burstable", driver: Driver = "cgroupfs") -> str:
    """Where a kubelet would put this container, below the root of each hierarchy; begins with a slash.

    `driver="systemd"` gives the path that systemd's slices and scopes have; runc creates plain directories there.
    """
    if driver == "cgroupfs":
        level = "" if qos == "guaranteed" else f"/{qos}"
        return f"/kubepods{level}/pod{pod_uid}/{container_id}"
    slice_name = "kubepods" if qos == "guaranteed" else f"kubepods-{qos}"
    parents = "/kubepods.slice" if qos == "guaranteed" else f"/kubepods.slice/{slice_name}.slice"
    return f"{parents}/{slice_name}-pod{pod_uid.replace('-', '_')}.slice/cri-containerd-{container_id}.scope"


def build_rootfs(where: Path) -> Path:
    """Creates the root file system that all containers share read-only, unless it exists; returns its path.

    busybox with a link for each of its applets in /bin, and a mount point for the host's /usr, so that /usr/bin/python3 runs.
    Raises UnavailableError when busybox-static is not installed.
    """
    if where.exists():
        return where
    if not BUSYBOX.exists():
        raise UnavailableError("busybox-static", str(BUSYBOX))
    draft = where.with_name(f"{where.name}.{os.getpid()}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    (draft / "bin").mkdir(parents=True)
    for name in MOUNT_POINTS:
        (draft / name).mkdir()
    shutil.copy2(BUSYBOX, draft / "bin/busybox")
    for applet in subprocess.run([BUSYBOX, "--list"], check=True, capture_output=True, text=True).stdout.split():
        link = draft / "bin" / applet
        if not link.exists():
            link.symlink_to("busybox")
    for library in ("lib", "lib32", "lib64", "sbin"):  # as on the host, where they link into /usr
        if Path("/", library).is_symlink():
            (draft / library).symlink_to(f"usr/{library}")
    (draft / "etc/passwd").write_text("root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n")
    (draft / "etc/group").write_text("root:x:0:\nnogroup:x:65534:\n")
    draft.rename(where)
    return where


_CGROUPS: tuple[dict[str, Any], ...] = (
    {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
    {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["nosuid", "noexec", "nodev", "rw"]},
)


def write_bundle(
    bundle: Path,
    *,
    rootfs: Path,
    argv: Sequence[str],
    cgroups_path: str,
    hostname: str,
    env: Mapping[str, str],
    work: Path,
    own_network: bool,
    privileged: bool,
    writable_cgroups: bool,
) -> None:
    """Writes `config.json` of an OCI bundle; `work` (read-write) is /work inside. `writable_cgroups`: its own cgroups are in
    /sys/fs/cgroup, read-write."""
    capabilities = [*ORDINARY_CAPABILITIES, *(NESTING_CAPABILITIES if privileged else ())]
    namespaces = ["pid", "mount", "uts", "ipc"] + (["network"] if own_network else [])
    variables = {"PATH": "/bin:/usr/bin", "HOME": "/", "PYTHONDONTWRITEBYTECODE": "1", **env}
    config: dict[str, Any] = {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": False,
            "user": {"uid": 0, "gid": 0},
            "args": list(argv),
            "env": [f"{name}={value}" for name, value in variables.items()],
            "cwd": "/",
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), capabilities),
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": OPEN_FILES, "soft": OPEN_FILES}],
            "noNewPrivileges": True,
        },
        "root": {"path": str(rootfs), "readonly": True},
        "hostname": hostname,
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            _tmpfs("/dev", "mode=755", "size=64k"),
            {
                "destination": "/dev/pts",
                "type": "devpts",
                "source": "devpts",
                "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"],
            },
            _tmpfs("/dev/shm", "mode=1777", "size=16m"),  # noqa: S108  (multiprocessing's semaphores live there)
            _tmpfs("/tmp", "mode=1777", "size=16m"),  # noqa: S108  (inside the container)
            _bind("/usr", Path("/usr"), "ro"),
            _bind("/work", work, "rw"),
            *(_CGROUPS if writable_cgroups else ()),
        ],
        "linux": {
            "cgroupsPath": cgroups_path,
            "namespaces": [{"type": name} for name in namespaces],
            "resources": {"devices": [{"allow": False, "access": "rwm"}], "pids": {"limit": PIDS}},
            "maskedPaths": [] if privileged else ["/proc/kcore", "/proc/keys", "/proc/timer_list"],
            "readonlyPaths": [] if privileged else ["/proc/sys", "/proc/sysrq-trigger"],
        },
    }
    (bundle / "config.json").write_text(json.dumps(config, indent=1))


def _tmpfs(destination: str, *options: str) -> dict[str, Any]:
    return {"destination": destination, "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", *options]}


def _bind(destination: str, source: Path, mode: Literal["ro", "rw"]) -> dict[str, Any]:
    return {"destination": destination, "type": "bind", "source": str(source), "options": ["rbind", mode, "nosuid", "nodev"]}
