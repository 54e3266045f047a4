"""Checks the shape of the product's folders: short files, few loose modules, one place for what a package must not do.

`.venv/bin/python -m dev.check_layout` prints a line for each fault, and exits with 1 when there is any.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Final

__all__ = ["faults", "main"]

ROOT: Final = Path(__file__).resolve().parents[1]
PRODUCT: Final = ("agent", "bpf", "cli", "collector", "wire")
SUFFIXES: Final = (".py", ".c", ".h")
# A file that is longer, or a folder with more modules, is no longer read in one sitting: split it by its second topic.
LINES: Final = 300
MODULES: Final = 12
_OWN: Final = ("__init__.py", "__main__.py")


def faults(files: Mapping[str, str]) -> Iterator[str]:
    """`files`: path from the checkout's root -> content, of Python modules and C files."""
    for file, content in files.items():
        lines = content.count("\n")
        if lines > LINES:
            yield f"{file}: {lines} lines; at most {LINES}: split it"
        docstring = (file.endswith(".py") and ast.get_docstring(ast.parse(content))) or ""
        if PurePosixPath(file).name != "__init__.py" and "must not" in " ".join(docstring.lower().split()):
            yield f"{file}: what a package must not do stands in its __init__.py, once"
    loose = Counter(str(PurePosixPath(file).parent) for file in files if PurePosixPath(file).name not in _OWN)
    for folder, count in sorted(loose.items()):
        if count > MODULES:
            yield f"{folder}/: {count} loose modules; at most {MODULES}: make packages of them"


def main() -> int:
    paths = [path for folder in PRODUCT for path in sorted((ROOT / folder).rglob("*")) if path.suffix in SUFFIXES]
    found = list(faults({str(path.relative_to(ROOT)): path.read_text() for path in paths}))
    sys.stdout.writelines(f"{one}\n" for one in found)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
