"""The first screen of `forklore top`: the table of pods, refreshed every few seconds, with its filter and its keys."""

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
from cli.client.errors import CommandError, Unavailable
from cli.client.json_view import JsonView
from cli.text.pieces import Piece
from cli.top.pod import PodScreen
from cli.top.rows import COLUMNS, SORTS, TableView, rows_of, summary, visible_rows
from cli.top.styles import text_of
from cli.top.table import PodTable
from wire.names import visible

__all__ = ["PodsScreen"]

WAIT_NOTICE: Final = 1.0  # seconds of waiting for an answer before the screen shows it


class PodsScreen(Screen[None]):
    """`answer`: the first answer of /v1/pods, shown at once."""

    DEFAULT_CSS = """
    PodsScreen #head { height: 1; padding: 0 1; }
    PodsScreen #message { height: auto; padding: 0 1; }
    PodsScreen #filter { display: none; padding: 0 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "filter", key_display="/"),
        Binding("escape", "clear_filter", "no filter", show=False),
        *(Binding(key, f"sort('{sort}')", sort) for key, sort in zip("rftmno", SORTS, strict=True)),
        Binding("space", "pause", "pause"),
        Binding("q", "app.quit", "quit"),
        Binding("ctrl+c", "app.quit", show=False),
    ]

    def __init__(self, collector: Collector, query: Query, view: TableView, interval: float, answer: JsonView) -> None:
        super().__init__()
        self._collector, self._query, self._view, self._interval = collector, list(query), view, interval
        self._answer, self._rows = answer, rows_of(answer)
        self._paused = False
        self._refresh_now = asyncio.Event()
        self._updated_at = time.monotonic()

    def compose(self) -> ComposeResult:
        yield Static(id="head", markup=False)
        yield Input(placeholder="part of a name; enter keeps the filter, escape clears it", id="filter", compact=True)
        yield PodTable()
        yield Static(id="message", markup=False)
        yield Footer()

    def on_mount(self) -> None:
        self.query_one(PodTable).focus()
        self._draw()
        self._refresh_forever()
        self.set_interval(WAIT_NOTICE, self._show_age)

    @work(name="live")
    async def _refresh_forever(self) -> None:
        while True:
            self._refresh_now.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._interval):
                    await self._refresh_now.wait()
            if self._paused or not self.is_current:
                continue
            try:
                self._answer = await self._collector.get(("v1", "pods"), self._pods_query())
            except Unavailable as error:
                self._show_message(f"{error}; the table is {time.monotonic() - self._updated_at:.0f} s old")
                continue
            except CommandError as error:
                self.app.exit(error)
                return
            self._updated_at, self._rows = time.monotonic(), rows_of(self._answer)
            self._show_message("")
            with suppress(NoMatches):  # the screen is being removed
                self._draw()

    def _pods_query(self) -> Query:
        """The filter is also sent to the collector, which knows more pods than one answer has."""
        text = self._view.filter_text.strip()
        return [*((name, value) for name, value in self._query if name != "text"), ("text", text)] if text else self._query

    def _draw(self) -> None:
        table = self.query_one(PodTable)
        rows = visible_rows(self._rows, self._view)
        table.show(rows, self._view)
        filter_pieces = [Piece(f"  filter: {visible(self._view.filter_text)}", "name")] if self._view.filter_text else []
        paused = [Piece("  paused", "warn")] if self._paused else []
        head = [
            Piece(f"{self._collector.display_url}  ", "dim"),
            *summary(self._answer, self._rows, table.shown),
            *filter_pieces,
            *paused,
        ]
        self.query_one("#head", Static).update(text_of(head))

    def _show_age(self) -> None:
        age = time.monotonic() - self._updated_at
        if self.is_current and not self._paused and age > self._interval + 2 * WAIT_NOTICE:
            self._show_message(f"waiting for {self._collector.display_url}; the table is {age:.0f} s old")

    def _show_message(self, text: str) -> None:
        for line in self.query("#message").results(Static):  # none while the screen is being removed
            line.update(Text(text, style="bold red"))

    def action_sort(self, sort: str) -> None:
        """Sorts by this column; reverses the order if it is sorted by it already."""
        self._view = self._view._replace(sort=sort, reverse=sort == self._view.sort and not self._view.reverse)
        self._draw()

    def action_pause(self) -> None:
        self._paused = not self._paused
        self._draw()
        self._refresh_now.set()

    def action_filter(self) -> None:
        field = self.query_one("#filter", Input)
        field.display = True
        self.set_focus(field)  # at once, because the next keys may already be queued

    def action_clear_filter(self) -> None:
        field = self.query_one("#filter", Input)
        field.value = ""
        field.display = False
        self.query_one(PodTable).focus()

    def on_key(self, event: Key) -> None:
        """Opens the filter earlier than a binding would, and gives it the letters that are still sent to the table."""
        field = self.query_one("#filter", Input)
        if self.focused is field and event.is_printable and event.character:
            event.stop()
            field.insert_text_at_cursor(event.character)
        elif event.key == "slash":
            event.stop()
            self.action_filter()

    @on(Input.Changed, "#filter")
    def _filter_changed(self, event: Input.Changed) -> None:
        self._view = self._view._replace(filter_text=event.value)
        self._draw()
        self._refresh_now.set()

    @on(Input.Submitted, "#filter")
    def _filter_submitted(self) -> None:
        if not self._view.filter_text:
            self.action_clear_filter()
        self.query_one(PodTable).focus()

    @on(PodTable.HeaderSelected)
    def _sort_by_heading(self, event: PodTable.HeaderSelected) -> None:
        sort = next((column.sort for column in COLUMNS if column.key == event.column_key.value), "")
        if sort:
            self.action_sort(sort)

    @on(PodTable.RowSelected)
    def _open_pod(self) -> None:
        row = self.query_one(PodTable).selected
        if row:
            self.app.push_screen(PodScreen(self._collector, row, self._interval))
