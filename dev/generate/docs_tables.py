"""The settings' tables of the README, made from the code: `.venv/bin/python dev/generate/docs_tables.py` writes them, a test
compares.

Keys, defaults and limits come from the models, the words from the docstring beneath each setting.
"""

from __future__ import annotations

import ast
import inspect
import json
import sys
import textwrap
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from agent.settings import Settings as AgentSettings  # noqa: E402  the path comes first
from collector.settings import Settings as CollectorSettings  # noqa: E402

TABLES: dict[str, type[BaseModel]] = {"agent": AgentSettings, "collector": CollectorSettings}
# What the environment or another setting decides, in words.
WORDS = {
    "node": "`$NODE_NAME`, else the host's name",
    "sinks[].schema": "the protocol's first",
    "sinks[].auth": "the protocol's first",
    "sinks[].select.labels": "all",
    "sinks[].select.events": "all",
    "sinks[].labels": "all",
}


def docstrings(model: type[BaseModel]) -> dict[str, str]:
    """What stands beneath each field."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(model))).body
    assert isinstance(tree, ast.ClassDef)  # noqa: S101  it is a class
    found = {}
    for field, text in zip(tree.body, tree.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
        ):
            found[field.target.id] = " ".join(str(text.value.value).split())
    return found


def rows(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str, str]]:
    words = docstrings(model)
    for name, field in model.model_fields.items():
        key = prefix + (field.alias or name)
        inner, many = inner_model(field)
        if inner:
            yield from rows(inner, f"{key}[]." if many else f"{key}.")
        else:
            yield key, WORDS.get(key) or default(field), words[name]


def inner_model(field: FieldInfo) -> tuple[type[BaseModel] | None, bool]:
    kind = field.annotation
    many = typing.get_origin(kind) is tuple
    one = typing.get_args(kind)[0] if many else kind
    return (one, many) if isinstance(one, type) and issubclass(one, BaseModel) else (None, False)


def default(field: FieldInfo) -> str:
    if field.is_required():
        return "*required*"
    value: Any = field.get_default(call_default_factory=True)
    units = [("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)]
    if isinstance(value, bool) or value is None or isinstance(value, dict | tuple):
        return f"`{json.dumps(value)}`"
    if isinstance(value, float):
        return f"`{value:g}s`"
    if isinstance(value, int) and value >= 1024:
        return next((f"`{value // size}{unit}`" for unit, size in units if value % size == 0), f"`{value}`")
    return f"`{value}`"


def table(name: str) -> str:
    lines = ["| setting | default | |", "|---|---|---|"]
    for key, value, text in rows(TABLES[name]):
        escaped = text.replace("|", "\\|")
        lines.append(f"| `{key}` | {value} | {escaped} |")
    return "\n".join(lines)


def rendered(readme: str) -> str:
    for name in TABLES:
        start, end = f"<!-- settings: {name} -->\n", "\n<!-- end -->"
        before, rest = readme.split(start, 1)
        readme = before + start + table(name) + end + rest.split(end, 1)[1]
    return readme


if __name__ == "__main__":
    file = ROOT / "README.md"
    file.write_text(rendered(file.read_text(encoding="utf-8")), encoding="utf-8")
