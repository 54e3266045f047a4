"""An image of one file: this machine's busybox, which is linked statically. A docker-archive."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

__all__ = ["busybox_image"]

_BUSYBOX: Final = Path("/bin/busybox")
_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}


def busybox_image(name: str, command: tuple[str, ...], applets: tuple[str, ...] = ()) -> bytes:
    """`applets`: commands that are links to it, in /bin."""
    layer = _tar({"bin/busybox": _BUSYBOX.read_bytes()}, {f"bin/{one}": "busybox" for one in applets}, ("tmp",))
    config = {
        "architecture": _ARCHITECTURES[os.uname().machine],
        "os": "linux",
        "config": {"Cmd": list(command), "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    parts = {
        "layer.tar": layer,
        "config.json": json.dumps(config).encode(),
        "manifest.json": json.dumps([{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]).encode(),
    }
    return _tar(parts)


def _tar(files: Mapping[str, bytes], links: Mapping[str, str] | None = None, folders: tuple[str, ...] = ()) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as bundle:
        for name in folders:
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o1777
            bundle.addfile(folder)
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o755
            bundle.addfile(info, io.BytesIO(data))
        for name, target in (links or {}).items():
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, target
            bundle.addfile(link)
    return made.getvalue()
