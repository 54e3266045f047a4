"""The settings that the chart writes are ones that agent and collector take; a pod restarts for them and for nothing else."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from agent.settings import load
from collector.settings import load as load_collector
from tests.certificates import Authority
from wire import VERSION

if TYPE_CHECKING:
    from tests.charts.conftest import Chart, Render

FOLDER = Path(__file__).parents[2] / "charts/forklore"
SINK = {"name": "siem", "url": "https://siem.example"}


@pytest.fixture(autouse=True)
def _node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NODE_NAME", "node7")  # as the downward API does


def test_the_agent_takes_its_settings(chart: Chart, case: str, tmp_path: Path) -> None:
    file = tmp_path / "agent.yaml"
    rendered = chart.render(case).settings()
    certificate, key = Authority().server_files(tmp_path)
    here = {"status_cert_file": str(certificate), "status_key_file": str(key)} if "status_cert_file" in rendered else {}
    file.write_text(yaml.safe_dump(rendered | here))
    settings = load(file)
    assert settings.node == "node7"
    assert settings.capture.keep is (settings.capture.pin is not None)
    assert settings.state_dir == Path("/var/lib/forklore")


def test_the_collector_takes_its_settings(chart: Chart, case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    render = chart.render(case)
    if "kind: StatefulSet" not in render.text:
        assert "collector.yaml" not in render.text
        return
    settings = render.settings("collector")
    file, token = tmp_path / "collector.yaml", tmp_path / "token"
    token.write_text("t")
    mounted = {key: str(token) for key in settings if key in ("token_file", "read_token_file", "ingest_token_file")}
    if "cert_file" in settings:
        certificate, key = Authority().server_files(tmp_path)
        mounted |= {"cert_file": str(certificate), "key_file": str(key)}
    file.write_text(yaml.safe_dump(settings | mounted))
    loaded = load_collector(file)
    assert loaded.listen == "0.0.0.0:9910"
    assert all(loaded.token_files.values()) or loaded.clusters


def test_every_file_that_the_collector_s_settings_name_is_mounted(chart: Chart, case: str) -> None:
    render = chart.render(case)
    for pod in (pod for pod in render.pods() if pod.kind == "StatefulSet"):
        named = set(re.findall(r"(/run/forklore/[\w./-]+)/[\w.]+", str(render.settings("collector"))))
        (container,) = [one for one in pod.containers() if one["name"] == "collector"]
        assert named == {one["mountPath"] for one in container["volumeMounts"] if one["mountPath"].startswith("/run/")}


def test_no_agent_holds_what_reads(chart: Chart, case: str) -> None:
    """Not the Secrets of viewers, nor 0.1's token of viewers and agents, whatever the collector takes."""
    render = chart.render(case)
    collectors = [pod for pod in render.pods() if pod.kind == "StatefulSet"]
    reading = {
        volume["secret"]["secretName"]
        for pod in collectors
        for volume in pod.spec["volumes"]
        if volume["name"] in ("token", "read-token")
    }
    assert not reading & {volume.get("secret", {}).get("secretName") for volume in render.agent().spec["volumes"]}
    assert "kube-root-ca.crt" not in str(render.agent().spec)


def test_an_agent_shows_a_token_of_the_audience_and_the_account_that_the_collector_takes(chart: Chart) -> None:
    render = chart.render("collector")
    (volume,) = [one for one in render.agent().spec["volumes"] if one["name"] == "collector-token"]
    (source,) = volume["projected"]["sources"]
    assert source["serviceAccountToken"] == {"audience": "forklore-collector", "path": "token", "expirationSeconds": 3600}
    settings = render.settings("collector")
    assert settings["audience"] == source["serviceAccountToken"]["audience"]
    own, edge = settings["clusters"]
    assert own["service_account"] == f"forklore/{render.agent().spec['serviceAccountName']}"
    assert (own["name"], edge["name"]) == (render.settings()["cluster"], "edge")


def test_the_collector_s_account_has_no_rights(chart: Chart, case: str) -> None:
    render = chart.render(case)
    accounts = {pod.spec.get("serviceAccountName") for pod in render.pods() if pod.kind == "StatefulSet"} - {None}
    for account in accounts:
        assert render.get("ServiceAccount", account)["automountServiceAccountToken"] is False
        assert not [one for one in render.objects() if account in str(one.get("subjects", []))]


@pytest.mark.parametrize("per_node", [True, False])
def test_with_static_tokens_an_agent_has_its_node_s_or_the_one_of_all(chart: Chart, per_node: bool) -> None:
    token = {"existingSecret": "mine", "perNode": per_node}
    render = chart.render(values={"collector": {"enabled": True, "agents": {"identity": "token", "token": token}}})
    (volume,) = [one for one in render.agent().spec["volumes"] if one["name"] == "collector-token"]
    (mount,) = [one for one in render.container()["volumeMounts"] if one["name"] == "collector-token"]
    assert ("items" in volume["secret"], mount.get("subPathExpr")) == ((False, "$(NODE_NAME)") if per_node else (True, None))
    settings = render.settings("collector")
    assert settings["ingest_token_file"] == "/run/forklore/secrets/agents/token" and "clusters" not in settings
    (sink,) = render.settings()["sinks"]
    assert sink["token_file"] == "/run/forklore/secrets/collector/token"


def test_every_file_that_settings_name_is_mounted(chart: Chart, case: str) -> None:
    render = chart.render(case)
    container = render.container()
    named = re.findall(r"/run/forklore/[\w./-]+|/var/lib/forklore", str(render.settings()))
    assert named
    folders = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    volumes = {one["name"]: one for one in render.agent().spec["volumes"]}
    for path in named:
        folder = path if path in folders else path.rpartition("/")[0]
        volume = volumes[folders[folder]]
        items = volume.get("secret", {}).get("items")
        if items:
            assert path.rpartition("/")[2] in {item["path"] for item in items}


def test_sinks_keep_their_settings_and_get_their_files(chart: Chart) -> None:
    elastic, otlp = chart.render("tls-sinks").settings()["sinks"]
    assert elastic == {
        "name": "elastic",
        "url": "https://elastic.example:9200",
        "protocol": "elasticsearch",
        "schema": "ecs",
        "batch": {"events": 10000, "wait": "2s"},
        "journal_bytes": "2Gi",
        "token_file": "/run/forklore/secrets/sink-elastic/api-key",
        "ca_file": "/run/forklore/secrets/sink-elastic/ca.crt",
    }
    assert otlp["cert_file"] == "/run/forklore/secrets/sink-otlp/tls.crt" and "secret" not in otlp
    made = chart.render("tls-sinks").get("Secret", "forklore-sink-elastic")
    assert made["stringData"]["api-key"] == "made-by-the-chart"
    assert "forklore-sink-otlp" not in chart.render("tls-sinks").text


def test_no_secret_is_in_a_config_map(chart: Chart, case: str) -> None:
    for one in chart.render(case).objects():
        if one["kind"] != "Secret":
            assert "made-by-the-chart" not in str(one) and "not-a-secret" not in str(one)


def test_numbers_and_nulls_keep_their_types_in_yaml(chart: Chart, tmp_path: Path) -> None:
    values = {
        "agent": {"pin": "", "settings": {"capture": {"ring_bytes": 33554432, "storm_limit": 1500000}}},
        "sinks": [{**SINK, "journal_bytes": 68719476736}],
    }
    file = tmp_path / "agent.yaml"
    file.write_text(yaml.safe_dump(chart.render(values=values).settings()))
    settings = load(file)
    assert (settings.capture.ring_bytes, settings.capture.storm_limit) == (33554432, 1500000)
    assert settings.sinks[0].journal_bytes == 68719476736
    assert settings.capture.pin is None and settings.capture.keep is False


def test_the_chart_s_collector_is_a_sink_of_every_agent(chart: Chart) -> None:
    render = chart.render("collector")
    (sink,) = render.settings()["sinks"]
    service = render.get("Service", "forklore-collector")
    assert sink["url"] == f"https://forklore-collector.forklore.svc:{service['spec']['ports'][0]['port']}/v1/events"
    assert render.get("Secret", "forklore-collector-token")["stringData"]["token"] == "not-a-secret"


def test_no_render_holds_a_random_value_or_asks_the_cluster(chart: Chart, case: str) -> None:
    """So GitOps, which renders again and again and without a cluster, sees no change where there is none."""
    assert chart.render(case, fresh=True).text == chart.render(case, fresh=True).text
    for file in (FOLDER / "templates").rglob("*.*"):
        if file.name not in ("NOTES.txt", "_enabled.tpl"):  # this one asks in an upgrade only, for the collector of its release
            assert not re.search(r"\brand[A-Z]|\blookup\b|\bgen[A-Z]|\bnow\b|uuidv4", re.sub(r"#.*", "", file.read_text())), (
                file
            )


BASE: dict[str, Any] = {"sinks": [{**SINK, "secret": {"data": {"t": "one"}, "files": {"token_file": "t"}}}]}
CHANGES: list[dict[str, Any]] = [
    {"cluster": "other"},
    {"sinks": []},
    {"sinks": [{**SINK, "compression": "none"}]},
    {"collector": {"enabled": True, "token": {"value": "x"}}},
    {"agent": {"settings": {"capture": {"threads": True}}}},
    {"agent": {"settings": {"kubernetes": {"wait": "9s"}}}},
    {"agent": {"status": {"port": 9000}}},
    {"agent": {"status": {"token": {"value": "x"}}}},
    {"agent": {"pin": ""}},
]
NOTHING: list[dict[str, Any]] = [
    {"sinks": [{**SINK, "secret": {"data": {"t": "two"}, "files": {"token_file": "t"}}}]},  # read again when it changes
    {"agent": {"labels": {"a": "b"}, "annotations": {"a": "b"}}},
    {"agent": {"pin": "/sys/fs/bpf/elsewhere", "stateDir": "/srv/forks"}},  # other mounts, the same settings
    {"agent": {"updateStrategy": {"type": "OnDelete"}}},
    {"monitoring": {"scrape": True, "rules": True, "dashboard": True}},
    {"uninstall": {"timeoutSeconds": 60}},
    {"networkPolicy": {"enabled": True}},
    {"rbac": {"create": False}},
]


def _checksum(render: Render) -> str:
    checksum: str = render.agent().metadata["annotations"]["checksum/config"]
    return checksum


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_another_configuration_has_another_checksum(chart: Chart, change: dict[str, Any]) -> None:
    before, after = chart.render(values=BASE), chart.render(values={**BASE, **change})
    assert before.settings() != after.settings()
    assert _checksum(before) != _checksum(after)


@pytest.mark.parametrize("change", NOTHING, ids=str)
def test_other_values_do_not_change_the_checksum(chart: Chart, change: dict[str, Any]) -> None:
    before, after = chart.render(values=BASE), chart.render(values={**BASE, **change})
    assert before.text != after.text
    assert before.settings() == after.settings()
    assert _checksum(before) == _checksum(after)


def test_the_collector_has_a_checksum_of_its_own(chart: Chart) -> None:
    def pod(**settings: str) -> Any:
        values = {"collector": {"enabled": True, "token": {"value": "x"}, "settings": settings}}
        return next(pod for pod in chart.render(values=values).pods() if pod.kind == "StatefulSet")

    assert pod() == pod()
    assert pod(retention="1d").metadata["annotations"] != pod().metadata["annotations"]
    assert pod(retention="1d").spec == pod().spec


def test_a_new_version_of_the_chart_restarts_no_pod(chart: Chart, case: str, tmp_path: Path) -> None:
    folder = tmp_path / "forklore"
    shutil.copytree(FOLDER, folder)
    about = (folder / "Chart.yaml").read_text()
    assert "\nversion: 0.1.0\n" in about
    (folder / "Chart.yaml").write_text(about.replace("\nversion: 0.1.0\n", "\nversion: 9.9.9+x\n"))
    before, after = chart.render(case), type(chart)(chart.helm, folder).render(case)
    assert "forklore-9.9.9_x" in after.text
    assert _workloads(before) == _workloads(after)
    assert _workloads(before)


def _workloads(render: Render) -> list[dict[str, Any]]:
    """What a controller compares: its whole spec, selector and claims included."""
    return [one["spec"] for one in render.objects() if one["kind"] in ("DaemonSet", "StatefulSet")]


def test_the_app_version_is_that_of_the_code() -> None:
    about = yaml.safe_load((FOLDER / "Chart.yaml").read_text())
    assert about["appVersion"] == VERSION


def test_an_image_has_a_digest_or_a_tag_and_comes_from_the_mirror(chart: Chart) -> None:
    images = {container["image"] for pod in chart.render("air-gapped").pods() for container in pod.containers()}
    assert images == {
        "registry.example:5000/mirror/forklore/agent@sha256:" + "0" * 63 + "1",
        "registry.example:5000/mirror/forklore/collector:0.1.0-fips",
    }
    assert all(pod.spec["imagePullSecrets"] == [{"name": "mirror"}] for pod in chart.render("air-gapped").pods())


def test_policies_allow_egress_to_the_addresses_of_the_settings(chart: Chart) -> None:
    def ports(case: str) -> set[int]:
        rules = chart.render(case).get("NetworkPolicy", "forklore-agent")["spec"]["egress"]
        return {port["port"] for rule in rules[1:] for port in rule["ports"]}

    assert ports("tls-sinks") == {443, 6443, 9200, 3128}
    assert ports("network-policy") == {6443, 80, 9910, 8443}


def test_the_collector_s_sink_has_what_other_sinks_have(chart: Chart, tmp_path: Path) -> None:
    own = {
        "select": {"namespaces": {"exclude": ["kube-system"]}, "host": False},
        "journal_bytes": "1Gi",
        "proxy": "http://p:3128",
    }
    render = chart.render(values={"collector": {"enabled": True, "sink": own}, "networkPolicy": {"enabled": True}})
    file = tmp_path / "agent.yaml"
    file.write_text(yaml.safe_dump(render.settings()))
    (sink,) = load(file).sinks
    assert (sink.name, sink.journal_bytes, sink.select.host) == ("collector", 1 << 30, False)
    assert sink.select.namespaces.exclude == ("kube-system",)
    assert "-collector." in sink.url
    (policy,) = [
        one for one in render.objects() if one["kind"] == "NetworkPolicy" and one["metadata"]["name"].endswith("-agent")
    ]
    assert 3128 in [port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]]
