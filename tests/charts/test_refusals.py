"""A wrong value is refused before anything is installed, and the message names what is valid."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from agent.settings import Settings, SinkSettings
from collector.settings import Settings as CollectorSettings

if TYPE_CHECKING:
    from tests.charts.conftest import Chart

FOLDER = Path(__file__).parents[2] / "charts/forklore"
SINK = {"name": "siem", "url": "https://siem.example"}

WRONG: list[tuple[dict[str, Any], list[str]]] = [
    # unknown keys
    ({"leastPrivileges": True}, ["leastPrivileges", "not allowed"]),
    ({"agent": {"setings": {}}}, ["/agent", "setings"]),
    ({"agent": {"settings": {"capture": {"thread": True}}}}, ["/agent/settings/capture", "thread"]),
    ({"collector": {"settings": {"retentoin": "1d"}}}, ["/collector/settings", "retentoin"]),
    ({"sinks": [{**SINK, "protocoll": "http"}]}, ["/sinks/0", "protocoll"]),
    # the wrong kind, or out of bounds
    ({"cluster": ""}, ["/cluster", "minLength"]),
    ({"leastPrivilege": "yes"}, ["/leastPrivilege", "boolean"]),
    ({"image": {"pullPolicy": "Sometimes"}}, ["/image/pullPolicy", "'IfNotPresent', 'Always', 'Never'"]),
    ({"agent": {"image": {"digest": "abc"}}}, ["/agent/image/digest", "sha256:"]),
    ({"agent": {"status": {"port": 99999}}}, ["/agent/status/port", "65,535"]),
    ({"agent": {"status": {"address": "localhost"}}}, ["/agent/status/address"]),
    ({"agent": {"stateDir": "var/lib"}}, ["/agent/stateDir", "^/"]),
    ({"agent": {"terminationGracePeriodSeconds": 10}}, ["/agent/terminationGracePeriodSeconds", "want 21"]),
    ({"agent": {"tolerations": [{"operator": "Exist"}]}}, ["/agent/tolerations/0/operator", "'Exists'"]),
    ({"agent": {"cgroups": {"recursiveReadOnly": "yes"}}}, ["/agent/cgroups/recursiveReadOnly", "'IfPossible'"]),
    ({"agent": {"probes": {"liveness": {"exec": {}}}}}, ["/agent/probes/liveness", "exec"]),
    ({"agent": {"podLabels": {"app.kubernetes.io/name": "x"}}}, ["agent.podLabels: app.kubernetes.io/name", "nameOverride"]),
    ({"commonLabels": {"app.kubernetes.io/component": "x"}}, ["commonLabels: app.kubernetes.io/component"]),
    ({"agent": {"extraEnv": [{"value": "x"}]}}, ["/agent/extraEnv/0", "name"]),
    ({"collector": {"runAsUser": 0}}, ["/collector/runAsUser", "want 1"]),
    ({"collector": {"persistence": {"size": "20"}}}, ["/collector/persistence/size", "Gi"]),
    ({"collector": {"service": {"type": "Clusterip"}}}, ["/collector/service/type", "'ClusterIP'"]),
    ({"monitoring": {"rulesDisabled": ["Storm"]}}, ["/monitoring/rulesDisabled/0", "^Forklore"]),
    ({"networkPolicy": {"statusFrom": [{"namespace": "x"}]}}, ["/networkPolicy/statusFrom/0", "namespace"]),
    # what YAML makes a number or a boolean of
    *(
        (values, [place, "text: quote it in YAML, or use --set-string"])
        for values, place in (
            ({"cluster": 123456789012}, "/cluster"),
            ({"agent": {"extraEnv": [{"name": "X", "value": 1}]}}, "/agent/extraEnv/0/value"),
            ({"collector": {"extraEnv": [{"name": "X", "value": True}]}}, "/collector/extraEnv/0/value"),
            ({"sinks": [{**SINK, "headers": {"X-Scope-OrgID": 1}}]}, "/sinks/0/headers/X-Scope-OrgID"),
            ({"sinks": [{**SINK, "index": 2026}]}, "/sinks/0/index"),
            ({"sinks": [{**SINK, "secret": {"data": {"t": 7}, "files": {"token_file": "t"}}}]}, "/sinks/0/secret/data/t"),
            ({"agent": {"image": {"tag": 1.10}}}, "/agent/image/tag"),
            ({"agent": {"podAnnotations": {"inject": False}}}, "/agent/podAnnotations/inject"),
            ({"commonLabels": {"cost-center": 4711}}, "/commonLabels/cost-center"),
            ({"collector": {"nodeSelector": {"pool": 2}}}, "/collector/nodeSelector/pool"),
        )
    ),
    # sinks
    ({"sinks": [{"name": "siem"}]}, ["/sinks/0", "url"]),
    ({"sinks": [{"name": "Siem", "url": "ftp://x"}]}, ["/sinks/0/name", "/sinks/0/url", "^https?://"]),
    ({"sinks": [{**SINK, "secret": {"existingSecret": "x"}}]}, ["/sinks/0/secret", "files"]),
    (
        {"sinks": [{**SINK, "secret": {"existingSecret": "x", "files": {"token": "t"}}}]},
        ["siem.secret.files.token is no setting", "token_file"],
    ),
    ({"sinks": [{**SINK, "secret": {"files": {"token_file": "t"}}}]}, ["siem.secret takes one of existingSecret", "and data"]),
    (
        {"sinks": [{**SINK, "secret": {"data": {"a": "b"}, "existingSecret": "x", "files": {"token_file": "a"}}}]},
        ["siem.secret takes one of existingSecret"],
    ),
    (
        {"sinks": [{**SINK, "secret": {"data": {"a": "b"}, "files": {"token_file": "t"}}}]},
        ['the key "t"', "not in siem.secret.data"],
    ),
    (
        {"sinks": [{**SINK, "token_file": "/x", "secret": {"existingSecret": "x", "files": {"token_file": "t"}}}]},
        ["siem has token_file twice"],
    ),
    ({"sinks": [SINK, SINK]}, ['two are named "siem"', "each needs its own"]),
    (
        {"collector": {"enabled": True}, "sinks": [{**SINK, "name": "collector"}]},
        ["the collector of the chart takes the name collector"],
    ),
    # settings that the chart sets
    ({"agent": {"settings": {"node": "x"}}}, ["agent.settings.node", "downward API"]),
    ({"agent": {"settings": {"cluster": "x"}}}, ["agent.settings.cluster", "set `cluster`"]),
    ({"agent": {"settings": {"state_dir": "/x"}}}, ["agent.settings.state_dir", "agent.stateDir"]),
    ({"agent": {"settings": {"status": "0.0.0.0:1"}}}, ["agent.settings.status", "agent.status.port"]),
    ({"agent": {"settings": {"status_token_file": "/x"}}}, ["agent.settings.status_token_file", "agent.status.token"]),
    ({"agent": {"settings": {"sinks": []}}}, ["agent.settings.sinks", "beside `agent`"]),
    ({"agent": {"settings": {"capture": {"pin": None, "keep": False}}}}, ["agent.settings.capture.keep", "uninstall.clean"]),
    ({"agent": {"settings": {"capture": {"pin": "/x"}}}}, ["agent.settings.capture.pin", "agent.pin"]),
    ({"collector": {"sink": {"url": "https://elsewhere.example"}}}, ["/collector/sink", "url"]),
    ({"collector": {"settings": {"listen": "0.0.0.0:1"}}}, ["collector.settings.listen", "collector.service.port"]),
    ({"collector": {"settings": {"token_file": "/x"}}}, ["collector.settings.token_file", "collector.token"]),
    ({"collector": {"settings": {"audience": "x"}}}, ["collector.settings.audience", "collector.agents.audience"]),
    (
        {"collector": {"settings": {"generated_read_token_file": "/x"}}},
        ["collector.settings.generated_read_token_file", "collector.readToken"],
    ),
    (
        {"collector": {"readToken": {"existingSecret": "x"}, "settings": {"read_token_file": "/x"}}},
        ["collector.settings.read_token_file", "collector.readToken"],
    ),
    (
        {
            "collector": {
                "agents": {"identity": "token", "token": {"existingSecret": "x"}},
                "settings": {"ingest_token_file": "/x"},
            }
        },
        ["collector.settings.ingest_token_file", "collector.agents.token"],
    ),
    ({"collector": {"settings": {"clusters": [{"nam": "x"}]}}}, ["/collector/settings/clusters/0", "nam"]),
    # who may send and read
    ({"collector": {"agents": {"identity": "tls"}}}, ["/collector/agents/identity", "'serviceAccount', 'token'"]),
    (
        {"collector": {"enabled": True, "agents": {"identity": "token"}}},
        ["no render holds a random value", "collector.agents.token.existingSecret"],
    ),
    ({"collector": {"agents": {"token": {"perNode": True}}}}, ["is not used with collector.agents.identity: serviceAccount"]),
    (
        {"collector": {"enabled": True, "replicas": 2, "settings": {"store": "https://c.example/f"}}},
        ["each would make a token for viewers of its own", "collector.readToken.existingSecret"],
    ),
    # values that exclude each other
    ({"agent": {"updateStrategy": {"rollingUpdate": {"maxSurge": 1}}}}, ["/agent/updateStrategy/rollingUpdate", "maxSurge"]),
    ({"agent": {"extraCapabilities": ["SYS_RESOURCE"]}}, ["a privileged agent has them all"]),
    ({"collector": {"enabled": True, "replicas": 2}}, ["single writer", "collector.settings.store"]),
    ({"priorityClass": {"value": 1}, "agent": {"priorityClassName": "mine"}}, ["names another: set one of them"]),
]


@pytest.mark.parametrize(("values", "words"), WRONG, ids=[json.dumps(values)[:80] for values, _ in WRONG])
def test_a_wrong_value_is_refused_with_a_helpful_message(chart: Chart, values: dict[str, Any], words: list[str]) -> None:
    message = chart.refusal(values)
    for word in words:
        assert word in message


@pytest.mark.parametrize("wanted", ["agent.cgroups.recursiveReadOnly: Disabled", "agent.cgroups.hostPath: /sys/fs/cgroup/pids"])
def test_on_an_old_kubernetes_the_message_names_the_value_for_least_privilege(chart: Chart, wanted: str) -> None:
    """It would accept the mount, and silently leave the mounts below it writable."""
    message = chart.refusal({"leastPrivilege": True}, kubernetes="1.30.3")
    assert wanted in message
    path, _, value = wanted.partition(": ")
    key = path.rpartition(".")[2]
    rendered = chart.render(values={"leastPrivilege": True, "agent": {"cgroups": {key: value}}}, kubernetes="1.30.3")
    assert "recursiveReadOnly: Enabled" not in rendered.text


def test_below_kubernetes_1_30_the_message_names_static_tokens(chart: Chart) -> None:
    message = chart.refusal({"collector": {"enabled": True}}, kubernetes="1.29.14")
    assert "Kubernetes v1.29.14 issues service account tokens that name no node" in message
    assert "collector.agents.identity: token" in message and "collector.agents.token.existingSecret" in message
    chart.render(values={"collector": {"enabled": True}}, kubernetes="1.30.0")


def test_the_schema_describes_every_value_and_no_other() -> None:
    """The other way round is `additionalProperties`: nothing that the schema does not name can be set."""
    schema = json.loads((FOLDER / "values.schema.json").read_text())
    defaults = yaml.safe_load((FOLDER / "values.yaml").read_text())
    without = {"global", "enabled"}  # a parent chart's
    assert set(schema["properties"]) - without == set(defaults)
    unsaid = [path for path, place in _leaves(schema, schema["properties"]) if not place.get("description")]
    assert [path for path in unsaid if path.split(".")[0] != "sinks"] == []


def _leaves(schema: dict[str, Any], properties: dict[str, Any], prefix: str = "") -> list[tuple[str, dict[str, Any]]]:
    found = []
    for key, place in properties.items():
        if "properties" in place and not place.get("description"):
            found += _leaves(schema, place["properties"], f"{prefix}{key}.")
        else:
            found.append((prefix + key, place))
    return found


def test_objects_of_the_schema_are_closed_unless_kubernetes_checks_them() -> None:
    schema = json.loads((FOLDER / "values.schema.json").read_text())
    assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"
    open_ones = [
        path for path, place in _objects(schema) if "properties" in place and place.get("additionalProperties") is not False
    ]
    assert open_ones == []
    assert len(list(_objects(schema))) > 40


def _objects(place: Any, path: str = "") -> list[tuple[str, dict[str, Any]]]:
    found = []
    if isinstance(place, dict):
        if place.get("type") == "object":
            found.append((path, place))
        for key, inner in place.items():
            found += _objects(inner, f"{path}/{key}")
    return found


def test_the_schema_allows_exactly_the_settings_that_exist() -> None:
    """Names only: the agent checks their values, and reports in one line what is valid."""
    schema = json.loads((FOLDER / "values.schema.json").read_text())["properties"]
    agent = set(schema["agent"]["properties"]["settings"]["properties"])
    assert set(Settings.model_fields) == agent
    assert set(CollectorSettings.model_fields) == set(schema["collector"]["properties"]["settings"]["properties"])
    sink = {field.alias or name for name, field in SinkSettings.model_fields.items()}
    assert sink | {"secret"} == set(schema["sinks"]["items"]["properties"])
