"""Finds words that are gone from the tree (dev/words.txt): in names, docstrings, comments, strings and documents.

`.venv/bin/python -m dev.check_words [PATH ...]` prints a line for each, and exits with 1 when there is any.
"""

from __future__ import annotations

import ast
import io
import os
import re
import sys
import tokenize
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["Allowed", "Found", "Rules", "files", "main", "read_rules", "violations"]

ROOT: Final = Path(__file__).resolve().parents[1]
WORDS: Final = "dev/words.txt"
SKIPPED: Final = (WORDS, "LICENSE", "bpf/LICENSE")  # the licences' own texts
# What is read as text, beside Python: documents, pages, SQL, the BPF programs, the chart, scripts. JSON is left out: it is made
# from what is checked, or was recorded elsewhere.
TEXTS: Final = (".md", ".html", ".sql", ".c", ".h", ".tpl", ".yaml", ".toml", ".txt", ".js", ".css", "")
_PART: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_F_STRING: Final = re.compile(r"\w*[fF]\w*['\"]")
# Python 3.12 and newer take f-strings apart themselves, and name their text so.
_TEXT_TOKENS: Final = (tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING))


class Gone(NamedTuple):
    """A word that must not occur. `where`: `name` (parts of an identifier), `text`, or `both`."""

    where: str
    pattern: re.Pattern[str]
    word: str
    instead: str


class Allowed(NamedTuple):
    """Files in which a word stays, and why. `pattern` matches all of it."""

    files: str
    pattern: re.Pattern[str]
    word: str
    reason: str


class Rules(NamedTuple):
    """The content of dev/words.txt."""

    gone: tuple[Gone, ...]
    exceptions: tuple[Allowed, ...]


class Found(NamedTuple):
    """One occurrence. `line` counts from 1; 0 is the file's name."""

    file: str
    line: int
    word: str
    instead: str
    where: str


def read_rules(text: str) -> Rules:
    """Raises ValueError, with the line's number, for a line of another shape."""
    gone: list[Gone] = []
    exceptions: list[Allowed] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        match [field.strip() for field in line.split(" | ")]:
            case [("name" | "text" | "both") as where, word, instead] if word and instead:
                gone.append(Gone(where, _compiled(number, word), word, instead))
            case ["except", files, word, reason] if word and reason:
                exceptions.append(Allowed(files, _compiled(number, word), word, reason))
            case _:
                raise ValueError(
                    f"{WORDS}:{number}: a line is `name|text|both | word | instead` or `except | files | word | reason`"
                )
    return Rules(tuple(gone), tuple(exceptions))


def violations(file: str, content: str, rules: Rules, used: set[Allowed]) -> Iterator[Found]:
    """`file`: its path from the checkout's root. Adds to `used` the exceptions that allowed a word."""
    allowed = [one for one in rules.exceptions if fnmatchcase(file, one.files)]
    pieces = _python(content) if file.endswith(".py") else [(1, "text", content)]
    clean: set[tuple[str, str]] = set()  # nearly all pieces are identifiers, most of which come again and again
    for start, kind, text in [(0, "name", _parts(file)), *pieces]:
        if (kind, text) in clean:
            continue
        found = [(one, match) for one in rules.gone if one.where in (kind, "both") for match in one.pattern.finditer(text)]
        if not found:
            clean.add((kind, text))
        for one, match in found:
            word = " ".join(match[0].split())
            if exceptions := [one for one in allowed if one.pattern.fullmatch(word)]:
                used.update(exceptions)
            else:
                yield Found(file, start + text.count("\n", 0, match.start()), word, one.instead, kind)


def _compiled(number: int, word: str) -> re.Pattern[str]:
    """A phrase is found across the end of a line, too."""
    try:
        return re.compile(rf"\b(?:{word})\b".replace(" ", r"\s+"), re.IGNORECASE)
    except re.error as error:
        raise ValueError(f"{WORDS}:{number}: {word!r} is no regular expression: {error}") from error


def _python(content: str) -> Iterator[tuple[int, str, str]]:
    """Identifiers in parts, comments, and strings: (line, `name` or `text`, words)."""
    for token in tokenize.generate_tokens(io.StringIO(content).readline):
        if token.type == tokenize.NAME:
            yield token.start[0], "name", _parts(token.string)
        elif token.type in _TEXT_TOKENS:
            yield token.start[0], "text", token.string
            if token.type == tokenize.STRING and _F_STRING.match(token.string):
                for name in _names_in(token.string):
                    yield token.start[0], "name", _parts(name)


def _names_in(f_string: str) -> Iterator[str]:
    """Identifiers between the braces, which Python 3.11 gives as a part of the string."""
    for node in ast.walk(ast.parse(f"({f_string})", mode="eval")):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.keyword(arg=str() as name):
                yield name
            case _:
                pass


def _parts(name: str) -> str:
    """`PodListQuery` and `pod_list_query` as `pod list query`."""
    return " ".join(_PART.findall(name)).lower()


def files(paths: Sequence[str]) -> Iterator[str]:
    """All files of the checkout, or those at or below these paths, without hidden folders and what Python leaves in others."""
    for place in sorted(ROOT / path for path in paths) or [ROOT]:
        if place.is_file():
            yield str(place.relative_to(ROOT))
        for folder, folders, names in os.walk(place):
            folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "__pycache__")
            yield from (str((Path(folder) / name).relative_to(ROOT)) for name in sorted(names))


def main(arguments: Sequence[str]) -> int:
    rules = read_rules((ROOT / WORDS).read_text())
    found: list[Found] = []
    used: set[Allowed] = set()
    for file in files(arguments):
        path = ROOT / file
        if file not in SKIPPED and (path.suffix == ".py" or path.suffix in TEXTS):
            found += violations(file, path.read_text(errors="replace"), rules, used)
    for one in found:
        sys.stdout.write(f"{one.file}:{one.line}: {one.where} {one.word!r} is gone: {one.instead}\n")
    unused = [] if arguments else [one for one in rules.exceptions if one not in used]
    for exception in unused:
        sys.stdout.write(f"{WORDS}: the exception to {exception.word!r} in {exception.files} is needed nowhere\n")
    return 1 if found or unused else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
