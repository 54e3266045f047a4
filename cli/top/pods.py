"""The first screen of `forklore top`: the table of pods, renewed every few seconds, with its filter and its keys.

Must not live here: one pod (`pod`), what stands in a row (`rows`).
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import ClassVar, Final

from rich.text import Text
from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.css.query import NoMatches
from textual.events import Key
from textual.screen import Screen
from textual.widgets import Footer, Input, Static

from cli.client.client import Collector, Query
from cli.client.errors import Trouble, Unavailable
from cli.client.json_view import Said
from cli.text.pieces import Piece
from cli.top.pod import PodScreen
from cli.top.rows import COLUMNS, SORTS, Wish, chosen, rows_of, summary
from cli.top.styles import text_of
from cli.top.table import PodTable
from wire.names import visible

__all__ = ["PodsScreen"]

SLOW: Final = 1.0  # seconds after which an answer that does not come is spoken of


class PodsScreen(Screen[None]):
    """`answer`: the first one, so that the screen begins with pods."""

    DEFAULT_CSS = """
    PodsScreen #head { height: 1; padding: 0 1; }
    PodsScreen #news { height: auto; padding: 0 1; }
    PodsScreen #find { display: none; padding: 0 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "find", "filter", key_display="/"),
        Binding("escape", "leave", "no filter", show=False),
        *(Binding(key, f"sort('{sort}')", sort) for key, sort in zip("rftmno", SORTS, strict=True)),
        Binding("space", "pause", "pause"),
        Binding("q", "app.quit", "quit"),
        Binding("ctrl+c", "app.quit", show=False),
    ]

    def __init__(self, collector: Collector, query: Query, wish: Wish, interval: float, answer: Said) -> None:
        super().__init__()
        self._collector, self._query, self._wish, self._interval = collector, list(query), wish, interval
        self._answer, self._rows = answer, rows_of(answer)
        self._paused = False
        self._again = asyncio.Event()
        self._fresh = time.monotonic()

    def compose(self) -> ComposeResult:
        yield Static(id="head", markup=False)
        yield Input(placeholder="somewhere in a name; enter keeps it, escape drops it", id="find", compact=True)
        yield PodTable()
        yield Static(id="news", markup=False)
        yield Footer()

    def on_mount(self) -> None:
        self.query_one(PodTable).focus()
        self._draw()
        self._live()
        self.set_interval(SLOW, self._wait)

    @work(name="live")
    async def _live(self) -> None:
        while True:
            self._again.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._interval):
                    await self._again.wait()
            if self._paused or not self.is_current:
                continue
            try:
                self._answer = await self._collector.get(("v1", "pods"), self._asked())
            except Unavailable as trouble:
                self._say(f"{trouble}; these are {time.monotonic() - self._fresh:.0f} s old")
                continue
            except Trouble as trouble:
                self.app.exit(trouble)
                return
            self._fresh, self._rows = time.monotonic(), rows_of(self._answer)
            self._say("")
            with suppress(NoMatches):  # somebody left meanwhile, and the screen is being taken down, piece by piece
                self._draw()

    def _asked(self) -> Query:
        """The filter is the collector's too, which knows more pods than it tells at once."""
        find = self._wish.find.strip()
        return [*(pair for pair in self._query if pair[0] != "text"), ("text", find)] if find else self._query

    def _draw(self) -> None:
        table = self.query_one(PodTable)
        rows = chosen(self._rows, self._wish)
        table.show(rows, self._wish)
        find = [Piece(f"  filter: {visible(self._wish.find)}", "name")] if self._wish.find else []
        paused = [Piece("  paused", "warn")] if self._paused else []
        head = [Piece(f"{self._collector.shown}  ", "dim"), *summary(self._answer, self._rows, table.shown), *find, *paused]
        self.query_one("#head", Static).update(text_of(head))

    def _wait(self) -> None:
        age = time.monotonic() - self._fresh
        if self.is_current and not self._paused and age > self._interval + 2 * SLOW:
            self._say(f"waiting for {self._collector.shown}; these are {age:.0f} s old")

    def _say(self, text: str) -> None:
        for line in self.query("#news").results(Static):  # none while the screen is being taken down
            line.update(Text(text, style="bold red"))

    def action_sort(self, sort: str) -> None:
        """By that; or, where it already is, the other way round."""
        self._wish = self._wish._replace(sort=sort, turned=sort == self._wish.sort and not self._wish.turned)
        self._draw()

    def action_pause(self) -> None:
        self._paused = not self._paused
        self._draw()
        self._again.set()

    def action_find(self) -> None:
        find = self.query_one("#find", Input)
        find.display = True
        self.set_focus(find)  # at once: the next letters may be here already

    def action_leave(self) -> None:
        find = self.query_one("#find", Input)
        find.value = ""
        find.display = False
        self.query_one(PodTable).focus()

    def on_key(self, event: Key) -> None:
        """The filter opens here, before a binding would open it, and takes the letters that are on their way to the table."""
        find = self.query_one("#find", Input)
        if self.focused is find and event.is_printable and event.character:
            event.stop()
            find.insert_text_at_cursor(event.character)
        elif event.key == "slash":
            event.stop()
            self.action_find()

    @on(Input.Changed, "#find")
    def _found(self, event: Input.Changed) -> None:
        self._wish = self._wish._replace(find=event.value)
        self._draw()
        self._again.set()

    @on(Input.Submitted, "#find")
    def _kept(self) -> None:
        if not self._wish.find:
            self.action_leave()
        self.query_one(PodTable).focus()

    @on(PodTable.HeaderSelected)
    def _by_heading(self, event: PodTable.HeaderSelected) -> None:
        sort = next((column.sort for column in COLUMNS if column.key == event.column_key.value), "")
        if sort:
            self.action_sort(sort)

    @on(PodTable.RowSelected)
    def _open(self) -> None:
        row = self.query_one(PodTable).chosen
        if row:
            self.app.push_screen(PodScreen(self._collector, row, self._interval))
