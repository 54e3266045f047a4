"""A packaged chart as an OCI archive (github.com/opencontainers/image-spec, image-layout), as `helm push` makes one. Pure."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from typing import Any, Final

import yaml

__all__ = ["oci_archive"]

_CONFIG: Final = "application/vnd.cncf.helm.config.v1+json"
_CONTENT: Final = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
_INDEX: Final = "application/vnd.oci.image.index.v1+json"


def oci_archive(package: bytes) -> bytes:
    """`package`: a .tgz by `helm package`. The archive's one reference is the chart's version, `+` as `_`, as helm does."""
    chart = _chart_yaml(package)
    config = json.dumps(chart, separators=(",", ":"), sort_keys=True).encode()
    annotations = {
        "org.opencontainers.image.title": chart["name"],
        "org.opencontainers.image.version": chart["version"],
        "org.opencontainers.image.description": chart.get("description", ""),
    }
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": _descriptor(_CONFIG, config),
            "layers": [_descriptor(_CONTENT, package)],
            "annotations": annotations,
        }
    ).encode()
    reference = {"org.opencontainers.image.ref.name": str(chart["version"]).replace("+", "_")}
    index = {
        "schemaVersion": 2,
        "mediaType": _INDEX,
        "manifests": [{**_descriptor(_MANIFEST, manifest), "annotations": reference}],
    }
    files = {"oci-layout": json.dumps({"imageLayoutVersion": "1.0.0"}).encode(), "index.json": json.dumps(index).encode()}
    for blob in (config, package, manifest):
        files[f"blobs/sha256/{hashlib.sha256(blob).hexdigest()}"] = blob
    return _tar(files)


def _chart_yaml(package: bytes) -> dict[str, Any]:
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(package))) as bundle:
        name = next(one for one in bundle.getnames() if one.count("/") == 1 and one.endswith("/Chart.yaml"))
        file = bundle.extractfile(name)
        if file is None:
            raise ValueError("the package has no Chart.yaml")
        chart: dict[str, Any] = yaml.safe_load(file.read())
        return chart


def _descriptor(media_type: str, blob: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": f"sha256:{hashlib.sha256(blob).hexdigest()}", "size": len(blob)}


def _tar(files: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as bundle:
        for name in sorted(files):
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(files[name]), 0o644
            bundle.addfile(info, io.BytesIO(files[name]))
    return made.getvalue()
