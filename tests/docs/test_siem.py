"""The pages for each SIEM: their settings load, their links lead somewhere, and each says all that a page has to."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from agent.settings import load
from tests.docs.siem_pages import FOLDER, Block, blocks, pages

SECTIONS = [
    "Configure", "First search", "First alerts", "Retries and duplicates", "What it costs", "What was tried",
]  # fmt: skip
YAML = [block for block in blocks() if block.language == "yaml"]
OF_SIEMS = [page for page in pages() if page.name != "README.md"]


def names(found: list[Block]) -> list[str]:
    return [f"{block.page}-{number}" for number, block in enumerate(found)]


@pytest.mark.parametrize("block", YAML, ids=names(YAML))
def test_every_setting_that_is_shown_loads(block: Block, tmp_path: Path) -> None:
    first_line = block.text.partition("\n")[0]
    if first_line != "# agent.yaml":
        assert first_line == "# otelcol.yaml"
        assert "otlp" in yaml.safe_load(block.text)["receivers"]
        return
    file = tmp_path / "agent.yaml"
    file.write_text(block.text)
    settings = load(file)
    assert settings.sinks


def test_every_page_shows_settings_and_every_protocol_is_shown(tmp_path: Path) -> None:
    shown: dict[str, set[tuple[str, str]]] = {}
    for number, block in enumerate(YAML):
        if block.text.startswith("# agent.yaml"):
            (file := tmp_path / f"{number}.yaml").write_text(block.text)
            pairs = {(sink.protocol, sink.schema_) for sink in load(file).sinks}
            shown.setdefault(block.page, set()).update(pairs)
    assert shown.keys() == {page.name for page in OF_SIEMS}
    assert {protocol for pairs in shown.values() for protocol, _ in pairs} == {"http", "splunk_hec", "elasticsearch", "otlp"}
    assert {schema for pairs in shown.values() for _, schema in pairs} == {"native", "ecs", "ocsf", "otel"}


@pytest.mark.parametrize("page", OF_SIEMS, ids=lambda page: str(page.name))
def test_every_page_has_all_sections_and_alerts(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert [one for one in headings if one in SECTIONS] == SECTIONS
    alerts = text.partition("## First alerts")[2].partition("\n## ")[0]
    for one in ("storm", "suddenly|rate jump", "never forked", "silent", "missing|gap"):
        assert re.search(one, alerts), one
    assert "forklore sinks test" in " ".join(text.split())
    assert page.name in (FOLDER / "README.md").read_text(encoding="utf-8")


def test_every_block_of_json_is_json() -> None:
    found = [block for block in blocks() if block.language == "json"]
    assert len(found) >= 5
    for block in found:
        json.loads(block.text)


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.name))
def test_every_link_leads_to_a_file(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#\s]+)(?:#[\w-]+)?\)", text):
        assert (page.parent / link).exists(), link


def test_the_gigabytes_follow_from_the_bytes_of_a_fork() -> None:
    """86,400 seconds of so many forks, each of so many bytes: the table's first and last columns."""
    table = (FOLDER / "README.md").read_text(encoding="utf-8").partition("gigabytes a day\n")[2]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("| `")]
    assert [row[0] for row in rows] == ["`native`", "`ecs`", "`ocsf`", "`otel`"]
    for _, indexed, sent, hundred, thousand, ten_thousand in rows:
        sizes = [float(one.replace(",", "")) for one in (indexed, sent)]
        cells = [
            [float(one.replace(",", "")) for one in re.findall(r"[\d,]*\d", cell)] for cell in (hundred, thousand, ten_thousand)
        ]
        for forks, numbers in zip((100, 1000, 10_000), cells, strict=True):
            for size, number in zip(sizes, numbers, strict=True):
                exact = forks * 86_400 * size / 1e9
                assert abs(number - exact) <= max(0.05 * exact, 0.5), (forks, size, number, exact)
