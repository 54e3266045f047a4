"""Finds words that are gone from the tree (dev/words.txt): in identifiers, docstrings, comments, strings and documents.

`.venv/bin/python -m dev.check_words [PATH ...]` prints a line for each, and exits with 1 when there is any.
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["Found", "Rules", "main", "read_rules", "violations"]

ROOT: Final = Path(__file__).resolve().parents[1]
WORDS: Final = ROOT / "dev/words.txt"
# What is read as text, beside Python: documents, pages, the BPF programs, the chart, scripts.
TEXTS: Final = (".md", ".html", ".c", ".h", ".tpl", ".yaml", ".txt", ".js", ".css", "")
_PART: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


class Gone(NamedTuple):
    """A word that must not occur. `where`: `name` (part of an identifier), `text`, or `both`."""

    where: str
    pattern: re.Pattern[str]
    word: str
    instead: str


class Allowed(NamedTuple):
    """Files in which a word stays, and why."""

    files: str
    word: str
    reason: str


class Rules(NamedTuple):
    """What dev/words.txt says."""

    gone: tuple[Gone, ...]
    exceptions: tuple[Allowed, ...]


class Found(NamedTuple):
    """One occurrence. `line` counts from 1."""

    file: str
    line: int
    word: str
    instead: str
    where: str


def read_rules(text: str) -> Rules:
    """Raises ValueError for a line of another shape, with its number."""
    gone, exceptions = [], []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        fields = [field.strip() for field in line.split(" | ")]
        match fields:
            case [("name" | "text" | "both") as where, word, instead]:
                gone.append(Gone(where, re.compile(rf"\b(?:{word})\b", re.IGNORECASE), word, instead))
            case ["except", files, word, reason] if reason:
                exceptions.append(Allowed(files, word, reason))
            case _:
                raise ValueError(
                    f"dev/words.txt:{number}: a line is `name|text|both | word | instead` or `except | files | word | why`"
                )
    return Rules(tuple(gone), tuple(exceptions))


def violations(file: str, content: str, rules: Rules) -> Iterator[Found]:
    """`file`: its path from the checkout's root."""
    allowed = {one.word for one in rules.exceptions if fnmatchcase(file, one.files)}
    gone = [one for one in rules.gone if one.word not in allowed]
    names = [one for one in gone if one.where != "text"]
    texts = [one for one in gone if one.where != "name"]
    pieces = (
        _python(content)
        if file.endswith(".py")
        else ((line, "text", text) for line, text in enumerate(content.splitlines(), 1))
    )
    for line, kind, text in pieces:
        for one in names if kind == "name" else texts:
            if found := one.pattern.search(text):
                yield Found(file, line, found[0], one.instead, kind)


def _python(content: str) -> Iterator[tuple[int, str, str]]:
    """Identifiers as words, comments, and strings line by line: (line, `name` or `text`, words)."""
    for token in tokenize.generate_tokens(io.StringIO(content).readline):
        if token.type == tokenize.NAME:
            yield token.start[0], "name", " ".join(_PART.findall(token.string)).lower()
        elif token.type in (tokenize.COMMENT, tokenize.STRING):
            for offset, text in enumerate(token.string.splitlines()):
                yield token.start[0] + offset, "text", text


def main(arguments: list[str]) -> int:
    rules = read_rules(WORDS.read_text())
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    found = []
    for file in listed.stdout.splitlines():
        path = ROOT / file
        if path.is_file() and (path.suffix == ".py" or path.suffix in TEXTS):
            found += violations(file, path.read_text(errors="replace"), rules)
    for one in found:
        sys.stdout.write(f"{one.file}:{one.line}: {one.where} {one.word!r} is gone: {one.instead}\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
