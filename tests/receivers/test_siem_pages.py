"""The pages in docs/siem work with OpenSearch and Tenzir: templates, searches, casts."""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.docs.siem_pages import FOLDER, blocks

from .processes import Osmem, Tenzir, until

pytestmark = [pytest.mark.receivers, pytest.mark.timeout(60)]
EXAMPLES = FOLDER / "examples"
KINDS = ("fork_storm", "fork_summary", "gap", "node_summary", "sched_process_fork")


def examples(schema: str) -> list[dict[str, Any]]:
    return [json.loads((EXAMPLES / f"{schema}-{kind}.json").read_text()) for kind in KINDS]


def opensearch_searches() -> list[dict[str, Any]]:
    found = [json.loads(block.text) for block in blocks(FOLDER / "elastic.md") if block.language == "json"]
    return [one for one in found if "query" in one and "language" not in one]


@pytest.fixture(scope="module")
def index(osmem: Osmem) -> str:
    """The examples with the present time, in an index by the page's template."""
    name = f"forklore-{secrets.token_hex(4)}"
    osmem.ask("/_component_template/forklore", json.loads((EXAMPLES / "ecs-component-template.json").read_text()), "PUT")
    templates = [json.loads(block.text) for block in blocks(FOLDER / "elastic.md") if '"index_patterns"' in block.text]
    (template,) = [one for one in templates if "data_stream" not in one]
    osmem.ask("/_index_template/forklore-page", template | {"index_patterns": [name]}, "PUT")
    for document in examples("ecs"):
        document["@timestamp"] = datetime.now(UTC).isoformat()
        osmem.ask(f"/{name}/_doc", document)
    return name


def test_the_templates_give_every_field_its_type(osmem: Osmem, index: str) -> None:
    mapped = osmem.ask(f"/{index}/_mapping")[index]["mappings"]["properties"]
    assert mapped["process"]["properties"]["name"]["type"] == "keyword"
    assert mapped["process"]["properties"]["start"]["type"] == "date"
    assert mapped["process"]["properties"]["pid"]["type"] == "long"
    assert mapped["forklore"]["properties"]["counts"]["properties"]["processes"]["type"] == "long"
    assert mapped["kubernetes"]["properties"]["labels"]["properties"]["app_kubernetes_io/part-of"]["type"] == "keyword"


def test_each_search_finds_its_events(osmem: Osmem, index: str) -> None:
    summed, storms, nodes = (osmem.ask(f"/{index}/_search", one) for one in opensearch_searches())
    (pod,) = summed["aggregations"]["pods"]["buckets"]
    assert (pod["key"], pod["forks"]["value"]) == ("cart-59855dd6c8-hnc27", 230)
    assert [hit["_source"]["event"]["action"] for hit in storms["hits"]["hits"]] == ["fork_storm"]
    (node,) = nodes["aggregations"]["nodes"]["buckets"]
    assert node["key"] == "node1"
    assert node["last"]["value"] > 0


def test_the_pipeline_to_security_lake_casts_without_a_warning(folder: Path) -> None:
    (page,) = [block.text for block in blocks(FOLDER / "ocsf.md") if "to_amazon_security_lake" in block.text]
    pipeline = page.partition("to_amazon_security_lake")[0].replace("0.0.0.0:8080", "127.0.0.1:PORT").rstrip()
    with Tenzir(folder, pipeline) as tenzir:
        tenzir.request("/", b"".join(json.dumps(one).encode() + b"\n" for one in examples("ocsf")))
        until(lambda: [*tenzir.events()], "the fork is cast")
        assert [event["class_uid"] for event in tenzir.events()] == [1007]
        assert tenzir.stderr_file.read_text() == ""


def test_the_searches_in_tenzirs_language_find_their_events(tenzir: Callable[[str], Tenzir], folder: Path) -> None:
    found = [block.text for block in blocks(FOLDER / "ocsf.md") if block.text.startswith("where metadata.event_code")]
    assert len(found) == 2
    file = folder / "ocsf.ndjson"
    file.write_text("".join(json.dumps(one) + "\n" for one in examples("ocsf")))
    results = []
    for one in found:
        pipeline = folder / "page.tql"
        pipeline.write_text(f'from_file "{file}" {{ read_ndjson }}\n{one}write_ndjson\n')
        command = [Tenzir.BINARY, "--bare-mode", "-f", pipeline]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
        results += [json.loads(line) for line in ran.stdout.splitlines()]
    storm, summary = results
    assert storm["metadata"]["event_code"] == "fork_storm"
    assert summary["forks"] == 230


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")
def test_the_jq_filters_find_their_events() -> None:
    native_forks = json.loads((FOLDER.parents[1] / "wire/examples.json").read_text())
    lines = "".join(json.dumps(event) + "\n" for event in native_forks)
    results = []
    for block in blocks(FOLDER / "generic-http.md"):
        if block.text.startswith("jq "):
            ran = subprocess.run(
                ["/bin/sh", "-c", block.text], input=lines, capture_output=True, text=True, timeout=10, check=True
            )
            results.append(ran.stdout)
    most, storms, nodes = results
    assert most == "230 cart-59855dd6c8-hnc27\n"
    assert '"limit":2000' in storms
    assert nodes.endswith(" node1\n")
