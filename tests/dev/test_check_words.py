"""The check of words finds what dev/words.txt forbids, wherever it stands, and nothing that an exception allows."""

from __future__ import annotations

from pathlib import Path

import pytest

from dev.check_words import Allowed, Found, files, read_rules, violations

RULES = read_rules("""
# a comment
name | gnomes? | workers
text | the gnomes? (says?|sighs) | what happened, to what
both | trolls? | processes
except | tests/data/*.py | trolls? | recorded elsewhere
""")


def found(content: str, file: str = "agent/module.py") -> list[tuple[int, str, str]]:
    return [(one.line, one.where, one.word.lower()) for one in violations(file, content, RULES, set())]


@pytest.mark.parametrize(
    ("content", "where", "word"),
    [
        ("def ask_gnome() -> None: ...\n", "name", "gnome"),
        ("class GnomesQuery: ...\n", "name", "gnomes"),
        ("TROLL_S = 1\n", "name", "troll"),
        ("x = f'{gnome.age}'\n", "name", "gnome"),
        ("call(gnome=1)\n", "name", "gnome"),
        ('"""Counts trolls."""\n', "text", "trolls"),
        ("x = 1  # one troll\n", "text", "troll"),
        ("raise ValueError('the gnome sighs at it')\n", "text", "the gnome sighs"),
        ("log(f'the gnome says {number}')\n", "text", "the gnome says"),
    ],
)
def test_a_forbidden_word_is_found_in_identifiers_docstrings_comments_and_messages(content: str, where: str, word: str) -> None:
    assert found(f"import os\n{content}") == [(2, where, word)]


def test_other_words_with_the_same_letters_are_not_found() -> None:
    assert found("import gnomesque, controlling\n# The gnomes sleep. strolls\n") == []


def test_a_phrase_is_found_across_the_end_of_a_line_and_with_its_line() -> None:
    assert found('"""One.\n\nTwo: the\n    gnome says no.\n"""\n') == [(3, "text", "the gnome says")]
    assert found("# Title\n\nthe gnome\nsays, and a troll\n", "docs/page.md") == [
        (3, "text", "the gnome says"),
        (4, "text", "troll"),
    ]


def test_the_name_of_a_file_counts_as_a_name() -> None:
    assert found("", "agent/gnome_list.py") == [(0, "name", "gnome")]


def test_every_occurrence_on_a_line_is_found() -> None:
    assert len(found("troll = trolls(troll)\n")) == 3


def test_an_exception_holds_for_its_files_and_its_word_only() -> None:
    assert found("troll = gnome\n", "tests/data/recorded.py") == [(1, "name", "gnome")]
    assert [word for _, _, word in found("troll = gnome\n")] == ["troll", "gnome"]


def test_an_exception_that_allowed_a_word_is_known_as_used() -> None:
    used: set[Allowed] = set()
    list(violations("tests/data/recorded.py", "nothing = 1\n", RULES, used))
    assert used == set()
    list(violations("tests/data/recorded.py", "troll = 1\n", RULES, used))
    assert used == set(RULES.exceptions)


def test_a_finding_names_file_line_word_and_replacement() -> None:
    (one,) = violations("agent/module.py", "troll = 1\n", RULES, set())
    assert one == Found("agent/module.py", 1, "troll", "processes", "name")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("name | gnome", "a line is"),
        ("names | gnome | worker", "a line is"),
        ("name | gnome | ", "a line is"),
        ("except | agent/* | gnome", "a line is"),
        ("except | agent/* | gnome | ", "a line is"),
        ("except | agent/* | gnome( | history", "no regular expression"),
        ("name | gnome( | worker", "no regular expression"),
    ],
)
def test_a_wrong_line_is_refused_with_its_number(line: str, reason: str) -> None:
    with pytest.raises(ValueError, match=rf"dev/words.txt:2: .*{reason}"):
        read_rules(f"name | elf | worker\n{line}")


def test_the_rules_of_the_tree_are_well_formed() -> None:
    rules = read_rules((Path(__file__).parents[2] / "dev/words.txt").read_text())
    assert rules.gone and rules.exceptions


def test_all_files_of_the_checkout_are_read_and_no_caches() -> None:
    found = set(files([]))
    assert {"README.md", "dev/words.txt", ".importlinter", "bpf/fork.c", "tests/dev/test_check_words.py"} <= found
    assert not [file for file in found if "__pycache__" in file or file.startswith((".git/", ".venv/", ".cache/"))]
    assert set(files(["dev/words.txt", "wire"])) == {file for file in found if file.startswith("wire/")} | {"dev/words.txt"}
