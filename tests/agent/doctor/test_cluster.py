"""The Kubernetes API, over real HTTP: which verb is missing, and what else can be wrong."""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from agent.attribution.pods.access import ApiAccess, try_access
from agent.doctor.checks.cluster import judge_access
from dev.demo.kubernetes.api_server import KubernetesApi
from dev.demo.kubernetes.cluster import Cluster

NAME = "Kubernetes API"


@asynccontextmanager
async def api_that_refuses(folder, *verbs, status=403):
    """A server that refuses `verbs` on pods, and permits the others. Yields a kubeconfig, and the requests."""
    asked = []

    async def pods(request):
        verb = "watch" if request.query.get("watch") else "list" if request.path == "/api/v1/pods" else "get"
        asked.append((verb, dict(request.query)))
        if verb in verbs:
            return web.json_response({"kind": "Status", "message": "\x1b[2Jno\n", "code": status}, status=status)
        if verb == "get":
            return web.json_response({"kind": "Status", "code": 404}, status=404)
        return web.json_response({"kind": "PodList", "metadata": {"resourceVersion": "5"}, "items": []})

    app = web.Application()
    app.router.add_get("/api/v1/{rest:.*}", pods)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    api = KubernetesApi(Cluster(), port=runner.addresses[0][1])
    api.write_kubeconfig(folder / "kubeconfig")
    try:
        yield folder / "kubeconfig", asked
    finally:
        await runner.cleanup()


async def test_with_all_verbs_the_result_is_ok(tmp_path, results_of):
    async with KubernetesApi(Cluster()) as api:
        api.write_kubeconfig(tmp_path / "kubeconfig")
        access = await try_access("node1", tmp_path / "kubeconfig")
        results = results_of(judge_access(access))
        assert results[NAME].verdict == "ok"
        assert api.url in results[NAME].text
        assert dict(api.requests) == {"list": 1, "watch": 1, "get": 1}


@pytest.mark.parametrize(
    ("verbs", "verdict", "text"),
    [
        (("list", "watch", "get"), "fail", "may not list or watch or get pods"),
        (("watch",), "fail", "may not watch pods"),
        (("list",), "fail", "may not list pods"),
        (("get",), "warn", "may not get pods"),
    ],
)
async def test_the_missing_verb_is_named_with_the_role_that_gives_it(tmp_path, results_of, verbs, verdict, text):
    async with api_that_refuses(tmp_path, *verbs) as (kubeconfig, asked):
        result = results_of(judge_access(await try_access("node1", kubeconfig)))[NAME]
    assert result.verdict == verdict
    assert text in result.text
    assert "ClusterRole" in result.cure
    queries = [query for verb, query in asked if verb in ("list", "watch")]
    assert [query["fieldSelector"] for query in queries] == ["spec.nodeName=node1"] * 2, "it asks as the agent does"
    assert queries[0]["limit"] == "1", "and for no more than it needs"


async def test_a_token_that_is_not_accepted_is_not_reported_as_a_missing_role(tmp_path, results_of):
    async with KubernetesApi(Cluster(), token="right") as api:
        api.write_kubeconfig(tmp_path / "kubeconfig")
        api.token = "another"
        result = results_of(judge_access(await try_access("node1", tmp_path / "kubeconfig")))[NAME]
    assert result.verdict == "fail"
    assert "401" in result.text
    assert "token" in result.cure and "ClusterRole" not in result.cure


async def test_a_server_error_is_not_reported_as_a_missing_role(tmp_path, results_of):
    async with api_that_refuses(tmp_path, "list", status=503) as (kubeconfig, _):
        result = results_of(judge_access(await try_access("node1", kubeconfig)))[NAME]
    assert result.verdict == "fail"
    assert "list: 503" in result.text


async def test_a_server_that_does_not_listen_is_reported(tmp_path, results_of):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        KubernetesApi(Cluster(), port=unused.getsockname()[1]).write_kubeconfig(tmp_path / "kubeconfig")
        result = results_of(judge_access(await try_access("node1", tmp_path / "kubeconfig")))[NAME]
    assert result.verdict == "fail"
    assert "127.0.0.1" in result.text and "is it up" in result.cure


@pytest.mark.parametrize("text", [None, "", "[", "a: b", '{"kind": "Config"}'])
async def test_a_kubeconfig_that_is_none_fails(tmp_path, results_of, text):
    file = tmp_path / "kubeconfig"
    if text is not None:
        file.write_text(text)
    assert results_of(judge_access(await try_access("node1", file))).failed == [NAME]


async def test_outside_of_a_pod_the_cure_names_the_kubeconfig(monkeypatch, results_of):
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    result = results_of(judge_access(await try_access("node1", None)))[NAME]
    assert result.verdict == "fail"
    assert "kubernetes.kubeconfig" in result.cure


def test_no_answers_at_all_are_a_failure(results_of):
    assert results_of(judge_access(ApiAccess("https://10.0.0.1"))).failed == [NAME]
