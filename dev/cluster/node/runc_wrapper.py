#!/usr/bin/python3 -I
"""runc, but for one thing that containerd 2 does and the 1.6 of Debian 12 does not: mounts that are read-only all the way down.

containerd asks for those with the option `rro`; which they are, the pod's annotation says (kubelet.py). Everything else is
handed on as it came.
"""

import json
import os
import sys
from pathlib import Path

ANNOTATION = "forklore.test/recursive-read-only"

if "create" in sys.argv:
    config = Path(sys.argv[sys.argv.index("--bundle") + 1]) / "config.json"
    spec = json.loads(config.read_text())
    for mount in spec["mounts"]:
        if mount["destination"] in json.loads(spec.get("annotations", {}).get(ANNOTATION, "[]")):
            mount["options"] = ["rro" if option == "ro" else option for option in mount["options"]]
    config.write_text(json.dumps(spec))
os.execv("/usr/sbin/runc", ["runc", *sys.argv[1:]])  # noqa: S606
