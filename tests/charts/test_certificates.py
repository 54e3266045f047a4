"""TLS of a fresh installation: who makes the certificates, who reads which key, and that agents trust their collector."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from collector.certificates.command import main as certificates
from wire.http.certificate import ServerCertificate

if TYPE_CHECKING:
    from tests.charts.conftest import Chart, Pod, Render

SECRET = "forklore-certificates"
STATUS = {"agent": {"status": {"tls": {"enabled": True}}}}
COLLECTOR = {"collector": {"enabled": True}}
GIVEN = {"collector": {"enabled": True, "tls": {"existingSecret": "mine"}}}


def _job(render: Render) -> Pod:
    (job,) = [pod for pod in render.pods() if pod.kind == "Job" and pod.name.startswith("forklore-certificates-")]
    return job


def _files(volume: dict[str, Any]) -> set[tuple[str, str, str]]:
    """Kind, object and keys that a volume brings into a pod; `*`: all."""
    for kind, field in (("secret", "secretName"), ("configMap", "name")):
        if kind in volume:
            items = volume[kind].get("items", [{"key": "*"}])
            return {(kind, volume[kind][field], item["key"]) for item in items}
    return set()


def _mounted(render: Render, name: str) -> set[tuple[str, str, str]]:
    pods = [pod for pod in render.pods() if pod.name == name]
    return {file for pod in pods for volume in pod.spec.get("volumes", []) for file in _files(volume)}


def _made(render: Render, folder: Path) -> None:
    """Runs what the Job runs, with a folder in place of the cluster's objects."""
    arguments = [
        one for one in _job(render).spec["containers"][0]["args"] if one.startswith(("--server", "--days", "--ca-days"))
    ]
    assert certificates(["--folder", str(folder), *arguments]) == 0


def test_what_the_job_makes_is_what_agents_and_helm_test_verify(chart: Chart, tmp_path: Path) -> None:
    render = chart.render("own-certificates")
    _made(render, tmp_path)
    (sink,) = [sink for sink in render.settings()["sinks"] if sink["name"] == "collector"]
    host = sink["url"].removeprefix("https://").partition(":")[0]
    (test,) = [pod for pod in render.pods() if pod.name == "forklore-test"]
    agents = test.spec["containers"][0]["args"][0].removeprefix("https://").partition(":")[0]
    for name, hosts in {"collector": (host, "forks.example", "localhost", "127.0.0.1"), "agent": (agents,)}.items():
        server = ServerCertificate(tmp_path / f"{name}.crt", tmp_path / f"{name}.key").context
        for one in hosts:
            _shake_hands(server, ssl.create_default_context(cafile=str(tmp_path / "ca.crt")), one)
        with pytest.raises(ssl.SSLCertVerificationError):
            _shake_hands(server, ssl.create_default_context(cafile=str(tmp_path / "ca.crt")), "other.example")


def _shake_hands(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> None:
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname=name),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(3):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert ends[0].getpeercert()


def test_only_the_collector_reads_its_key_and_no_pod_reads_the_cas(chart: Chart) -> None:
    render = chart.render("own-certificates")
    assert {file for file in _mounted(render, "forklore-collector") if file[1] == SECRET} == {
        ("secret", SECRET, "collector.crt"),
        ("secret", SECRET, "collector.key"),
    }
    agent = _mounted(render, "forklore-agent")
    assert ("configMap", "forklore-ca", "ca.crt") in agent
    assert not any(name == SECRET for _, name, _ in agent)
    everywhere = [_mounted(render, pod.name) for pod in render.pods()]
    assert not any(key in ("*", "ca.key") for files in everywhere for _, name, key in files if name == SECRET)


def test_the_certificates_job_may_read_and_write_its_objects_and_nothing_else(chart: Chart) -> None:
    render = chart.render("own-certificates")
    assert render.get("Role", SECRET)["rules"] == [
        {
            "apiGroups": [""],
            "resources": ["secrets"],
            "resourceNames": [SECRET, "forklore-agent-tls"],
            "verbs": ["get", "patch"],
        },
        {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["forklore-ca"], "verbs": ["get", "patch"]},
    ]
    wanted = " ".join(_job(render).spec["containers"][0]["args"])
    for kind, name in (("Secret", SECRET), ("Secret", "forklore-agent-tls"), ("ConfigMap", "forklore-ca")):
        assert not {"data", "stringData"} & render.get(kind, name).keys(), "GitOps would reset it"
        assert f"forklore/{name}" in wanted
    renews = next(pod for pod in render.pods() if pod.kind == "CronJob")
    assert renews.spec == _job(render).spec


def test_two_renders_are_equal(chart: Chart) -> None:
    assert chart.render(values=COLLECTOR).text == chart.render(values=COLLECTOR, fresh=True).text


def test_agents_do_not_wait_for_a_certificate_and_the_collector_does(chart: Chart) -> None:
    render = chart.render(values=COLLECTOR)
    (volume,) = [one for one in render.agent().spec["volumes"] if one["name"] == "collector-ca"]
    assert volume["configMap"]["optional"] is True
    (volume,) = [one for one in _pod(render, "StatefulSet").spec["volumes"] if one["name"] == "certificate"]
    assert "optional" not in volume["secret"]


def _pod(render: Render, kind: str) -> Pod:
    (found,) = [pod for pod in render.pods() if pod.kind == kind]
    return found


@pytest.mark.parametrize(
    "more", [{}, {"certificates": {"certManager": {"enabled": True}}}], ids=["the chart's own", "with cert-manager"]
)
def test_a_secret_of_the_operator_goes_before_what_others_make(chart: Chart, more: dict[str, Any], tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text(str({**GIVEN, **more}).replace("True", "true"))
    arguments = ("template", "forklore", str(chart.folder), "--namespace", "forklore", "--api-versions", "cert-manager.io/v1")
    code, text, error = chart.run(*arguments, "--kube-version", "1.35.0", "--values", str(values))
    assert code == 0, error
    render = type(chart.render("default"))(text)
    assert {one for one in _mounted(render, "forklore-collector") if one[1] == "mine"} == {
        ("secret", "mine", "tls.crt"),
        ("secret", "mine", "tls.key"),
    }
    assert ("secret", "mine", "ca.crt") in _mounted(render, "forklore-agent")
    assert "Certificate" not in {one["kind"] for one in render.objects()}
    assert not any("certificates" in one["metadata"]["name"] for one in render.objects())


def test_cert_manager_makes_one_certificate_for_the_collector_and_one_for_all_agents(chart: Chart) -> None:
    render = chart.render("cert-manager")
    collector = render.get("Certificate", "forklore-collector")["spec"]
    assert "forks.example" in collector["dnsNames"] and collector["ipAddresses"] == ["127.0.0.1", "10.1.2.3"]
    assert ("secret", collector["secretName"], "tls.key") in _mounted(render, "forklore-collector")
    agent = _mounted(render, "forklore-agent")
    assert ("secret", "forklore-agent-tls", "ca.crt") in agent
    assert not any(name == collector["secretName"] for _, name, _ in agent)
    assert not any(pod.kind == "CronJob" for pod in render.pods())


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"certificates": {"certManager": {"enabled": True}}}, "--api-versions cert-manager.io/v1"),
        ({"certificates": {"certManager": {"issuerRef": {"name": "corp"}}}}, "certManager.enabled only"),
        ({"certificates": {"days": 90, "caDays": 90}}, "caDays must be more"),
        ({"collector": {"tls": {"caSecret": "x"}}}, "collector.tls.existingSecret"),
        ({"collector": {"tls": {"publicCA": True}}}, "collector.tls.existingSecret"),
        ({"collector": {"settings": {"cert_file": "/x"}}}, "collector.tls"),
        ({"collector": {"settings": {"tls": False}}}, "collector.tls.enabled"),
        ({"agent": {"settings": {"status_cert_file": "/x"}}}, "agent.status.tls"),
    ],
)
def test_values_that_contradict_each_other_are_refused(chart: Chart, values: dict[str, Any], words: str) -> None:
    assert words in chart.refusal(values)


def test_the_kubelet_and_prometheus_follow_the_scheme(chart: Chart) -> None:
    for case, scheme in (("own-certificates", "HTTPS"), ("collector", "HTTP")):
        container = chart.render(case).container()
        requests = [container[one]["httpGet"] for one in ("startupProbe", "livenessProbe", "readinessProbe")]
        assert {one["scheme"] for one in requests} == {scheme}
    render = chart.render("own-certificates")
    (container,) = _pod(render, "StatefulSet").spec["containers"]
    assert container["readinessProbe"]["httpGet"]["scheme"] == "HTTPS"
    (agents,) = render.get("PodMonitor", "forklore-agent")["spec"]["podMetricsEndpoints"]
    assert (agents["scheme"], agents["tlsConfig"]["serverName"]) == ("https", "forklore-agent.forklore.svc")
    (collector,) = render.get("ServiceMonitor", "forklore-collector")["spec"]["endpoints"]
    assert collector["tlsConfig"]["ca"] == {"configMap": {"name": "forklore-ca", "key": "ca.crt"}}


def test_plain_http_is_set_explicitly(chart: Chart) -> None:
    render = chart.render(values={"collector": {"enabled": True, "tls": {"enabled": False}}})
    assert render.settings("collector")["tls"] is False
    assert render.settings()["sinks"][0]["url"].startswith("http://")
    assert "forklore-certificates" not in render.text
