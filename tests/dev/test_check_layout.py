"""The check of layout finds long files, crowded folders and scattered prohibitions."""

from __future__ import annotations

import pytest

from dev import check_layout
from dev.check_layout import LINES, MODULES, faults


def test_a_file_may_have_so_many_lines_and_no_more() -> None:
    files = {"agent/short.py": "\n" * LINES, "agent/long.py": "\n" * (LINES + 1)}
    assert list(faults(files)) == [f"agent/long.py: {LINES + 1} lines; at most {LINES}: split it"]


def test_a_c_file_may_have_no_more_lines_than_a_module() -> None:
    text = "/* It must not block. */\n"
    files = {"bpf/short.c": text, "bpf/long.c": text * (LINES + 1), "bpf/long.h": text * (LINES + 1)}
    assert list(faults(files)) == [f"bpf/long.{suffix}: {LINES + 1} lines; at most {LINES}: split it" for suffix in ("c", "h")]


def test_the_check_reads_the_bpf_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    monkeypatch.setattr(check_layout, "faults", lambda files: read.extend(files) or [])
    assert check_layout.main() == 0
    assert {"bpf/fork.c", "bpf/records.h", "agent/kernel/loader.py"} <= set(read)


def test_a_folder_may_have_so_many_modules_beside_its_own_and_no_more() -> None:
    full = {f"agent/full/m{number}.py": "" for number in range(MODULES)} | {
        "agent/full/__init__.py": "",
        "agent/full/__main__.py": "",
    }
    assert list(faults(full)) == []
    assert list(faults(full | {"agent/full/inner/one.py": ""})) == []
    assert list(faults(full | {"agent/full/more.py": ""})) == [
        f"agent/full/: {MODULES + 1} loose modules; at most {MODULES}: make packages of them"
    ]


def test_a_prohibition_stands_in_the_package_only() -> None:
    text = '"""Reads rows.\n\nThis package must\nnot write.\n"""\n'
    assert list(faults({"agent/__init__.py": text})) == []
    assert list(faults({"agent/rows.py": text})) == [
        "agent/rows.py: what a package must not do stands in its __init__.py, once"
    ]
    assert list(faults({"agent/rows.py": '"""Reads rows."""\n# It must not block.\n'})) == []
