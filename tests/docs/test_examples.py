"""The examples of each schema are what the encoders make."""

from __future__ import annotations

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_examples_are_what_the_encoders_make() -> None:
    spec = importlib.util.spec_from_file_location("examples", ROOT / "dev/generate/docs_examples.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made = module.examples()
    there = {
        file.name: file.read_text(encoding="utf-8") for file in module.FOLDER.glob("*-*.json") if "template" not in file.name
    }
    assert there == made, "run .venv/bin/python dev/generate/docs_examples.py"
    assert len(made) == 10
