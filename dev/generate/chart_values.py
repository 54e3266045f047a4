"""The files that are made from the chart's values.yaml: `.venv/bin/python dev/generate/chart_values.py` writes them.

A test compares them. The README's table and the schema's descriptions are the comments that begin with `# --`. The names in
`agent.settings`, `sinks` and `collector.settings` are taken from the settings themselves, so that a typing error is refused
before anything is installed. The checks of values are in values.schema.json, written by hand.
"""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

CHART: Final = Path(__file__).resolve().parents[2] / "charts/forklore"
_KEY: Final = re.compile(r"( *)([A-Za-z]+):(.*)")
# Settings that the chart sets: the schema allows them, so that a template can refuse them with the value to use instead.
OWNED: Final = {"agent": ("capture.pin", "capture.keep"), "collector": ()}
# Of the collector's sink: what the chart sets, and what its protocol and schema do not have.
_SET_FOR_COLLECTOR: Final = frozenset({
    "name", "url", "protocol", "schema", "framing", "token_file", "ca_file", "cert_file", "key_file", "auth", "username",
    "token_header", "index", "source", "sourcetype", "data_stream",
})  # fmt: skip
# Of a sink: text that may look like a number. YAML would make one of it, and the agent would not start.
_TEXTS: Final = ("username", "token_header", "index", "source", "sourcetype", "data_stream")


class Value(NamedTuple):
    """`path` with dots; `default` is None for a group of values."""

    path: str
    default: Any
    words: str


def commented(text: str) -> Iterator[Value]:
    """Every key of values.yaml that has a `# --` comment above it, in order."""
    defaults = yaml.safe_load(text)
    above: list[str] = []
    path: list[str] = []
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("# -- "):
            above = [stripped.removeprefix("# -- ")]
        elif stripped.startswith("# ") and above:
            above.append(stripped.removeprefix("# "))
        elif (found := _KEY.fullmatch(line)) and len(found[1]) % 2 == 0 and len(found[1]) // 2 <= len(path):
            path = [*path[: len(found[1]) // 2], found[2]]
            if above:
                value = defaults
                for key in path:
                    value = value[key]
                yield Value(".".join(path), value, " ".join(above))
            above = []
        else:
            above = []


def table(values: list[Value]) -> str:
    rows = ["| value | default | |", "|---|---|---|"]
    for value in values:
        default = json.dumps(value.default, separators=(", ", ": "))
        shown = default if len(default) <= 40 else "see values.yaml"
        rows.append(
            f"| `{value.path}` | {f'`{shown}`' if shown == default else shown} | {value.words.replace('|', chr(92) + '|')} |"
        )
    return "\n".join(rows)


def rendered(readme: str, values: list[Value]) -> str:
    start, end = "<!-- values -->\n", "\n<!-- end -->"
    before, rest = readme.split(start, 1)
    return before + start + table(values) + end + rest.split(end, 1)[1]


def described(schema: dict[str, Any], values: list[Value]) -> dict[str, Any]:
    """The schema with each value's description, and with the names of the settings."""
    schema = json.loads(json.dumps(schema))
    for value in values:
        place = schema
        for key in value.path.split("."):
            place = place["properties"][key]
        place["description"] = value.words
    agent = settings("agent")
    sinks = agent["properties"].pop("sinks")
    agent["properties"]["sinks"] = {}
    for owner, made in (("agent", agent), ("collector", settings("collector"))):
        place = schema["properties"][owner]["properties"]["settings"]
        schema["properties"][owner]["properties"]["settings"] = {**made, "description": place["description"]}
    of_sink = sinks["items"]["properties"]
    place = schema["properties"]["collector"]["properties"]["sink"]
    place["properties"] = {key: words for key, words in of_sink.items() if key not in _SET_FOR_COLLECTOR}
    for key in _TEXTS:
        of_sink[key] |= {"$ref": "#/definitions/text"}
    of_sink["headers"] |= {"$ref": "#/definitions/strings"}
    own = schema["properties"]["sinks"]["items"]["properties"]
    known = {key: own[key] for key in ("name", "url", "secret")}
    schema["properties"]["sinks"]["items"]["properties"] = {**sinks["items"]["properties"], **known}
    return schema


def settings(part: str) -> dict[str, Any]:
    """The names and descriptions of the settings of agent or collector. Each checks its own values."""
    tables = _tables()
    made: dict[str, Any] = {"type": "object", "additionalProperties": False, "properties": {}}
    rows = [(key, words) for key, _default, words in tables.rows(tables.SETTINGS[part])]
    for path, words in [*rows, *((path, "") for path in OWNED[part])]:
        place = made
        *above, last = path.split(".")
        for key in above:
            inner: dict[str, Any] = {"type": "object", "additionalProperties": False, "properties": {}}
            if key.endswith("[]"):
                place = place["properties"].setdefault(key[:-2], {"type": "array", "items": inner})["items"]
            else:
                place = place["properties"].setdefault(key, inner)
        place["properties"].setdefault(last, {"description": words} if words else {})
    return made


def _tables() -> Any:  # noqa: ANN401  a module that is a script
    spec = importlib.util.spec_from_file_location("tables", CHART.parents[1] / "dev/generate/docs_tables.py")
    assert spec and spec.loader  # noqa: S101  it is there
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def made() -> dict[Path, str]:
    """The text that each file should have."""
    values = list(commented((CHART / "values.yaml").read_text(encoding="utf-8")))
    readme, schema = CHART / "README.md", CHART / "values.schema.json"
    return {
        readme: rendered(readme.read_text(encoding="utf-8"), values),
        schema: json.dumps(described(json.loads(schema.read_text(encoding="utf-8")), values), indent=2) + "\n",
    }


if __name__ == "__main__":
    for file, text in made().items():
        file.write_text(text, encoding="utf-8")
