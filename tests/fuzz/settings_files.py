"""A settings file of agent or collector, as the first byte chooses. A sentence for each mistake, whatever it holds."""

import tempfile
from pathlib import Path

from agent import settings as agent
from collector import settings as collector

COVERS = ["agent.settings", "agent.settings.*", "collector.settings.*", "wire.units"]
FILE = Path(tempfile.mkdtemp(prefix="forklore-fuzz-")) / "settings.yaml"
AGENT = b"""node: node1
capture: {threads: false, ring_bytes: 16Mi, summary_interval: 10s, storm_limit: 2000, pin: /sys/fs/bpf/forklore}
kubernetes: {enabled: true, wait: 5s}
sinks:
  - {name: siem, url: "https://splunk.example:8088", protocol: splunk_hec, schema: ocsf, token_file: /t, compression: gzip,
     batch: {events: 5000, bytes: 1Mi, wait: 1s}, select: {namespaces: {exclude: [kube-system]}, host: true}}
"""
COLLECTOR = b"listen: 0.0.0.0:9910\nstore: chdb:///var/lib/forklore/store\nretention: 7d\ntoken_file: /t\n"
SEEDS = [b"\0" + AGENT, b"\1" + COLLECTOR, b"\0sinks: [{name: a, url: http://a/}, {name: a, url: http://b/}]\n"]


def check(data):
    FILE.write_bytes(bytes(data[1:]))
    lines = ["no mistake"]
    try:
        collector.load(FILE) if data and data[0] % 2 else agent.load(FILE)
    except agent.SettingsError as refusal:
        lines = refusal.lines
    except collector.WrongSettings as refusal:
        lines = refusal.mistakes
    assert lines and all(line and line.isprintable() and len(line) < 4000 for line in lines), lines
