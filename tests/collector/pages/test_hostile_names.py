"""Each template, with hostile values in every variable: nothing of them controls the page."""

from __future__ import annotations

import itertools
import re

import pytest
from jinja2 import Undefined

from cli.text.pieces import Paint, Piece
from cli.top.styles import text_of
from collector.pages.rendering import _HERE, Rendering

CONTROLS = "\x1b[2J\x07\u202e\u2066\u200b\x9b\r\n\t"
HOSTILE = f"\"><script>alert(1)</script>'{CONTROLS}"
PAGES = sorted(path.stem for path in (_HERE / "templates").iterdir() if path.stem not in ("base", "frame"))


def hostile(truth):
    """A type of undefined variable that is anything, with hostile text; `truth`: what each says to `if` in turn."""
    answers = itertools.cycle(truth)

    class Hostile(Undefined):
        def _itself(self, *_args, **_kwargs):
            return Hostile(name="x")

        def __getattr__(self, name):
            if name.startswith("__"):  # such as __html__, by which Jinja knows what is escaped already
                raise AttributeError(name)
            return self._itself()

        __getitem__ = __call__ = __add__ = __radd__ = __sub__ = __mul__ = _itself

        def __str__(self):
            return HOSTILE

        def __len__(self):
            return 5000

        def __iter__(self):
            return iter((Hostile(name="x"), Hostile(name="x")))

        def __reversed__(self):
            return iter(self)

        def __bool__(self):
            return next(answers)

        def __eq__(self, other):
            return next(answers)

        def __hash__(self):
            return 0

        def __gt__(self, other):
            return next(answers)

        __lt__ = __ge__ = __le__ = __gt__

    return Hostile


@pytest.mark.parametrize("truth", [[True], [False, True], [True, True, False]])
@pytest.mark.parametrize("page", PAGES)
def test_no_template_writes_a_character_that_controls_the_page(page, truth):
    rendering = Rendering()
    rendering._templates.undefined = kind = hostile(truth)
    template = rendering._templates.get_template(f"{page}.html")
    text = template.render()
    for name, macro in vars(template.make_module({})).items():
        if callable(macro) and hasattr(macro, "arguments"):
            text += str(macro(*(kind(name=argument) for argument in macro.arguments)))
            assert name
    written = [letter for letter in text if not letter.isprintable() and letter != "\n"]
    assert written == []
    assert "<script>alert" not in text
    assert not re.search(r"\[2J[^<]*\n[^<]*\\t", text)  # a line break of theirs is escaped, too
    assert "\\u202e" in text or page in ("base", "frame")


def test_no_piece_of_a_terminal_s_line_controls_the_terminal():
    pieces = [Piece(CONTROLS), Piece(CONTROLS, "bad")]
    plain = Paint(coloured=False)(pieces)
    assert plain.isprintable()
    assert Paint(coloured=True)(pieces).count("\x1b") == 2
    assert text_of(pieces).plain.isprintable()
    assert plain.count("\\u202e") == 2
