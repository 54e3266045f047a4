"""From a clone() in a real container to a number in a real browser, past a Kubernetes API: every part is the product's own."""

from __future__ import annotations

import asyncio
import secrets
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from collector.server import running_collector
from collector.settings import Settings
from demo.cluster import Cluster
from demo.containers import Runtime
from demo.kubernetes_api import KubernetesApi
from demo.pod_objects import Owner, Pod

from .conftest import Agent
from .test_containers import FORK_23, SCRIPT, at_rest, go

playwright = pytest.importorskip("playwright.async_api")
pytestmark = [pytest.mark.kernel, pytest.mark.containers, pytest.mark.browser]

HOSTILE = """
comm = b'\\x01<b>"\\n\\xff\\''
assert ctypes.CDLL(None).prctl(15, comm, 0, 0, 0) == 0  # PR_SET_NAME
"""
SHOWN = "\\x01<b>\"\\n\ufffd'"  # what a control character looks like on a page that shows it
CHROMIUM = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]


async def test_the_page_counts_what_the_container_did_and_shows_a_hostile_comm_as_text(
    start_agent: Callable[..., Agent], runtime: Runtime, tmp_path: Path
) -> None:
    cluster, uid, container_id = Cluster(), str(uuid.uuid4()), secrets.token_hex(32)
    owner = Owner("ReplicaSet", "cart-59855dd6c8", str(uuid.uuid4()))
    labels = (("app", "cart"), ("pod-template-hash", "59855dd6c8"))
    cluster.add_pod(Pod("shop", "cart-59855dd6c8-hnc27", uid, (("app", ("python3",)),), labels=labels, owner=owner))
    async with KubernetesApi(cluster) as api, running_collector(Settings(listen="127.0.0.1:0", store="memory:")) as url:
        api.write_kubeconfig(tmp_path / "kubeconfig")
        agent = await asyncio.to_thread(
            start_agent,
            capture={"summary_interval": "1s"},
            kubernetes={"kubeconfig": str(tmp_path / "kubeconfig")},
            sinks=[{"name": "collector", "url": f"{url}/v1/events", "compression": "zstd", "batch": {"wait": "100ms"}}],
        )
        command = ["/usr/bin/python3", "-c", SCRIPT.format(what=HOSTILE + FORK_23)]
        container = await asyncio.to_thread(runtime.start, command, pod_uid=uid, container_id=container_id)
        await asyncio.sleep(1)  # as long as a kubelet takes to say so
        cluster.container_running(uid, "app", container_id)
        await asyncio.to_thread(at_rest, agent, container)
        said = await asyncio.to_thread(go, container)
        counted = await asyncio.to_thread(agent.container, container_id)
        assert (counted["namespace"], counted["pod"], counted["container"]) == ("shop", "cart-59855dd6c8-hnc27", "app")

        async with playwright.async_playwright() as driver:
            chromium = await driver.chromium.launch(executable_path="/usr/bin/chromium", args=CHROMIUM)
            page = await chromium.new_page()
            complaints: list[str] = []
            page.on("console", lambda message: complaints.append(message.text))
            page.on("pageerror", lambda error: complaints.append(str(error)))
            await page.goto(url)
            row = page.locator("tr.row:has(bdi.podname:text-is('cart-59855dd6c8-hnc27'))")
            # It updates itself: nobody reloads it.
            await playwright.expect(row.locator("[data-f=forks]")).to_have_text(str(counted["processes"]), timeout=20_000)
            assert await row.locator("[data-f=threads]").inner_text() == str(counted["threads"])
            assert "Deployment cart" in await row.inner_text()
            await playwright.expect(row.locator("[data-f=top]")).to_contain_text(SHOWN, timeout=20_000)
            await row.click()
            latest = page.locator(".forktable")
            await playwright.expect(latest).to_contain_text(SHOWN, timeout=20_000)
            in_pod = await latest.locator("[data-f=ns_pid]").all_inner_texts()
            assert {str(pid) for pid in said["pids"]} <= set(in_pod)
            assert await page.locator("b:text-is('\"')").count() == 0
            assert complaints == []
            await chromium.close()
        ledger = await asyncio.to_thread(agent.leave)
        assert ledger["closed"]
        assert not ledger["sinks"]["collector"]["lost"]
