"""The tables of docs/settings.md and docs/cli.md, made from the code.

`.venv/bin/python dev/generate/docs_tables.py` writes them, tests/docs/test_readme.py compares. Keys, defaults and limits of
settings come from the models, their words from the docstring beneath each setting; options from the commands' own parsers.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import json
import sys
import textwrap
import typing
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

from pydantic import BaseModel
from pydantic.fields import FieldInfo

ROOT: Final = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from agent.settings import Settings as AgentSettings  # noqa: E402  the path comes first
from cli.__main__ import PARTS  # noqa: E402
from collector.certificates.command import main as certificates_main  # noqa: E402
from collector.settings import Settings as CollectorSettings  # noqa: E402

SETTINGS: Final[dict[str, type[BaseModel]]] = {"agent": AgentSettings, "collector": CollectorSettings}
COMMANDS: Final = ("agent", "sinks", "doctor", "collector", "top", "tree", "tail")
# Defaults that the environment or another setting decides.
WORDS: Final = {
    "node": "`$NODE_NAME`, else the host's name",
    "sinks[].schema": "the protocol's first",
    "sinks[].auth": "the protocol's first",
    "sinks[].select.labels": "all",
    "sinks[].select.events": "all",
    "sinks[].labels": "all",
}


def docstrings(model: type[BaseModel]) -> dict[str, str]:
    """The docstring beneath each field."""
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
    """(key with dots, default, words) of each setting."""
    words = docstrings(model)
    for name, field in model.model_fields.items():
        key = prefix + (field.alias or name)
        inner, many = inner_model(field)
        if inner:
            yield from rows(inner, f"{key}[]." if many else f"{key}.")
        else:
            yield key, WORDS.get(key) or default(field), words[name]


def inner_model(field: FieldInfo) -> tuple[type[BaseModel] | None, bool]:
    """The model of a setting that has settings of its own, and whether it is a list of them."""
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


def settings_table(name: str) -> str:
    lines = ["| setting | default | |", "|---|---|---|"]
    lines += [f"| `{key}` | {value} | {_cell(text)} |" for key, value, text in rows(SETTINGS[name])]
    return "\n".join(lines)


def commands_table() -> str:
    lines = ["| command | option | |", "|---|---|---|"]
    for main in (*(import_module(PARTS[command][0]).main for command in COMMANDS), certificates_main):
        parser = parser_of(main)
        lines += [f"| `{name}` | `{option}` | {_cell(text)} |" for name, option, text in options(parser)]
    return "\n".join(lines)


def options(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str, str]]:
    """(command, option with the name of its value, words), the subcommands' included."""
    for action in parser._actions:  # argparse has no other list of them
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from options(inner)
        elif not isinstance(action, argparse._HelpAction):
            value = action.metavar or ("{" + ",".join(map(str, action.choices)) + "}" if action.choices else "")
            yield (
                parser.prog,
                " ".join([*action.option_strings[-1:], *([str(value)] if value else [])]) or action.dest,
                (action.help or ""),
            )


class _Parsed(Exception):
    """Carries the parser out of a command's `main`, which makes it and then parses."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        super().__init__()
        self.parser = parser


def parser_of(main: Callable[[list[str]], int]) -> argparse.ArgumentParser:
    def stop(parser: argparse.ArgumentParser, *_: object) -> None:
        raise _Parsed(parser)

    with patch.object(argparse.ArgumentParser, "parse_args", stop):
        try:
            main([])
        except _Parsed as parsed:
            return parsed.parser
    raise ValueError(f"{main.__module__}.main parses no arguments")


def with_table(page: str, mark: str, table: str) -> str:
    """The page with this table between `mark` and the next end mark. Raises ValueError when the page has no such place."""
    before, start, rest = page.partition(f"<!-- {mark} -->\n")
    _old, end, after = rest.partition("<!-- end -->")
    if not end:
        raise ValueError(f"the page has no <!-- {mark} --> with an <!-- end --> after it")
    return f"{before}{start}{table}\n{end}{after}"


def made() -> dict[Path, str]:
    """The text that each page should have."""
    settings, commands = ROOT / "docs/settings.md", ROOT / "docs/cli.md"
    text = settings.read_text(encoding="utf-8")
    for name in SETTINGS:
        text = with_table(text, f"settings: {name}", settings_table(name))
    return {settings: text, commands: with_table(commands.read_text(encoding="utf-8"), "commands", commands_table())}


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    for page, page_text in made().items():
        page.write_text(page_text, encoding="utf-8")
