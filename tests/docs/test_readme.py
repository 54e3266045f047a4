"""README and the pages of docs/ agree with the code."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "bpf/README.md", ROOT / "charts/forklore/README.md"])


@pytest.fixture(scope="module")
def tables() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tables", ROOT / "dev/generate/docs_tables.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tables_of_settings_and_commands_are_made_from_the_code(tables: ModuleType) -> None:
    for page, text in tables.made().items():
        assert page.read_text(encoding="utf-8") == text, "run .venv/bin/python dev/generate/docs_tables.py"
    settings = (ROOT / "docs/settings.md").read_text(encoding="utf-8")
    assert "`capture.threads`" in settings and "`retention`" in settings
    assert "`--since TIME`" in (ROOT / "docs/cli.md").read_text(encoding="utf-8")


def test_a_page_without_a_place_for_its_table_is_refused(tables: ModuleType) -> None:
    with pytest.raises(ValueError, match="<!-- commands -->"):
        tables.with_table("# A page\n<!-- settings: agent -->\n<!-- end -->\n", "commands", "a table")


@pytest.mark.parametrize(
    ("column", "file", "others"),
    [(1, "agent/__main__.py", {2}), (2, "collector/__main__.py", set()), (3, "cli/client/errors.py", set())],  # 2: argparse's
)
def test_the_page_of_exit_codes_has_the_codes_of_each_program(column: int, file: str, others: set[int]) -> None:
    page = (ROOT / "docs/exit-codes.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if re.match(r"\| \d+ \|", line)]
    assert {int(row[0]) for row in rows if len(row) == 4 and row[column]} == constants(file) | others


def constants(file: str) -> set[int]:
    """The whole numbers with a public name at the top of a module."""
    found = set()
    for node in ast.parse((ROOT / file).read_text(encoding="utf-8")).body:
        match node:
            case ast.AnnAssign(target=ast.Name() as name, value=ast.Constant(value=int() as number)):
                found.add((name.id, number))
            case ast.Assign(targets=[ast.Name() as name], value=ast.Constant(value=int() as number)):
                found.add((name.id, number))
            case ast.Assign(targets=[ast.Tuple(elts=names)], value=ast.Tuple(elts=numbers)):
                found |= {(ast.unparse(name), ast.literal_eval(number)) for name, number in zip(names, numbers, strict=True)}
    return {number for name, number in found if not name.startswith("_")}


def test_the_readme_is_read_in_five_minutes_and_begins_with_the_commands() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 120
    first = "\n".join(lines[:25])
    assert all(command in first for command in ("helm install forklore", "\nmake run ", "\nmake test "))


def test_every_picture_is_shown_and_described() -> None:
    shown = set()
    for page in (ROOT / "README.md", ROOT / "docs/pages.md"):
        text = page.read_text(encoding="utf-8")
        pictures = re.findall(r"(?:src|srcset)=\"([\w./-]+\.png)\"", text)
        shown |= {(page.parent / picture).resolve() for picture in pictures}
        assert all(re.search(r"alt=\"[^\"]{10,}\"", tag) for tag in re.findall(r"<img [^>]*>", text))
    assert shown == set((ROOT / "docs/images").iterdir())
    for picture in shown:
        assert 10_000 < picture.stat().st_size < 200_000


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        path, _, heading = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        if heading:
            assert heading in anchors(file), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_path_in_backticks_exists(page: Path) -> None:
    for path in re.findall(r"`((?:agent|bpf|cli|collector|dev|docs|tests|wire)/[\w./-]*)`", page.read_text(encoding="utf-8")):
        assert (ROOT / path).exists(), path


def walks() -> dict[str, list[list[str]]]:
    """The walks of ARCHITECTURE.md by title: number, file and function of each step."""
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").partition("## Walks\n")[2].partition("\n## ")[0]
    steps = {}
    for walk in text.split("\n### ")[1:]:
        rows = [[cell.strip(" `") for cell in line.split("|")[1:4]] for line in walk.splitlines() if line.startswith("| ")]
        steps[walk.partition("\n")[0]] = [row for row in rows if row[0].isdigit()]
    return steps


@pytest.mark.parametrize("title", walks())
def test_a_walk_has_at_most_twelve_steps_and_never_goes_back(title: str) -> None:
    steps = walks()[title]
    assert [int(number) for number, _, _ in steps] == list(range(1, len(steps) + 1))
    assert 3 <= len(steps) <= 12
    files = [file for _, file, _ in steps]
    assert len(set(files)) == len(files), "a step goes back to a file"


@pytest.mark.parametrize(("file", "function"), [step[1:] for steps in walks().values() for step in steps])
def test_every_step_of_a_walk_exists(file: str, function: str) -> None:
    text = (ROOT / file).read_text(encoding="utf-8")
    if not file.endswith(".py"):
        assert function in text
        return
    names = set()
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.AnnAssign):
            names.add(ast.unparse(node.target))
        elif isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{one.name}" for one in node.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)}
    assert function in names


def test_every_function_of_the_call_tree_exists() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^ *([A-Z]\w+\.\w+)", text.partition("## Walks\n")[2].split("```")[1], re.MULTILINE))
    defined = {
        f"{node.name}.{one.name}"
        for file in (ROOT / "agent").rglob("*.py")
        for node in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef)
        for one in node.body
        if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert named and named <= defined


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}
