"""The README says what the code does."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_tables_of_settings_are_the_code_s() -> None:
    spec = importlib.util.spec_from_file_location("tables", ROOT / "dev/generate/docs_tables.py")
    assert spec and spec.loader
    tables = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tables)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme == tables.rendered(readme), "run .venv/bin/python dev/generate/docs_tables.py"
    assert "`capture.threads`" in readme and "`retention`" in readme


def test_its_pictures_are_there() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    pictures = set(re.findall(r"(?:src|srcset)=\"(docs/images/[\w-]+\.png)\"", readme))
    assert pictures == {f"docs/images/{path.name}" for path in (ROOT / "docs/images").iterdir()}  # and no other
    for picture in pictures:
        assert 10_000 < (ROOT / picture).stat().st_size < 200_000
    assert all(re.search(r"alt=\"[^\"]{10,}\"", tag) for tag in re.findall(r"<img [^>]*>", readme))
