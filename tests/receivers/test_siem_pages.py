"""What the pages in docs/siem say about OpenSearch and Tenzir works there: templates, searches, the way to a cast."""

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

from .running import Osmem, Tenzir, until

pytestmark = [pytest.mark.receivers, pytest.mark.timeout(60)]
EXAMPLES = FOLDER / "examples"
KINDS = ("fork_storm", "fork_summary", "gap", "node_summary", "sched_process_fork")


def examples(schema: str) -> list[dict[str, Any]]:
    return [json.loads((EXAMPLES / f"{schema}-{kind}.json").read_text()) for kind in KINDS]


def of_opensearch() -> list[dict[str, Any]]:
    found = [json.loads(block.text) for block in blocks(FOLDER / "elastic.md") if block.language == "json"]
    return [one for one in found if "query" in one and "language" not in one]


@pytest.fixture(scope="module")
def index(osmem: Osmem) -> str:
    """The examples as if they had been made now, in an index by the page's template."""
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


def test_each_search_finds_what_it_is_for(osmem: Osmem, index: str) -> None:
    summed, storms, nodes = (osmem.ask(f"/{index}/_search", one) for one in of_opensearch())
    (pod,) = summed["aggregations"]["pods"]["buckets"]
    assert (pod["key"], pod["forks"]["value"]) == ("cart-59855dd6c8-hnc27", 230)
    assert [hit["_source"]["event"]["action"] for hit in storms["hits"]["hits"]] == ["fork_storm"]
    (node,) = nodes["aggregations"]["nodes"]["buckets"]
    assert node["key"] == "node1"
    assert node["last"]["value"] > 0


def test_the_way_to_security_lake_casts_without_a_word(folder: Path) -> None:
    (page,) = [block.text for block in blocks(FOLDER / "ocsf.md") if "to_amazon_security_lake" in block.text]
    pipeline = page.partition("to_amazon_security_lake")[0].replace("0.0.0.0:8080", "127.0.0.1:PORT").rstrip()
    with Tenzir(folder, pipeline) as tenzir:
        tenzir.asked("/", b"".join(json.dumps(one).encode() + b"\n" for one in examples("ocsf")))
        until(lambda: [*tenzir.events()], "the fork is cast")
        assert [event["class_uid"] for event in tenzir.events()] == [1007]
        assert tenzir.schema_errors.read_text() == ""


def test_the_searches_in_tenzirs_language_find_what_they_are_for(tenzir: Callable[[str], Tenzir], folder: Path) -> None:
    found = [block.text for block in blocks(FOLDER / "ocsf.md") if block.text.startswith("where metadata.event_code")]
    assert len(found) == 2
    file = folder / "ocsf.ndjson"
    file.write_text("".join(json.dumps(one) + "\n" for one in examples("ocsf")))
    said = []
    for one in found:
        pipeline = folder / "page.tql"
        pipeline.write_text(f'from_file "{file}" {{ read_ndjson }}\n{one}write_ndjson\n')
        command = [Tenzir.BINARY, "--bare-mode", "-f", pipeline]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
        said += [json.loads(line) for line in ran.stdout.splitlines()]
    storm, summary = said
    assert storm["metadata"]["event_code"] == "fork_storm"
    assert summary["forks"] == 230


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not there")
def test_the_jq_filters_find_what_they_are_for() -> None:
    native_forks = json.loads((FOLDER.parents[1] / "wire/examples.json").read_text())
    lines = "".join(json.dumps(event) + "\n" for event in native_forks)
    said = []
    for block in blocks(FOLDER / "generic-http.md"):
        if block.text.startswith("jq "):
            ran = subprocess.run(
                ["/bin/sh", "-c", block.text], input=lines, capture_output=True, text=True, timeout=10, check=True
            )
            said.append(ran.stdout)
    most, storms, nodes = said
    assert most == "230 cart-59855dd6c8-hnc27\n"
    assert '"limit":2000' in storms
    assert nodes.endswith(" node1\n")
