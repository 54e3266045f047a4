"""The table of pods: sorted by its headings, its cursor on a pod rather than on a place.

Must not live here: asking for pods, the order itself (`rows`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.widgets import DataTable
from textual.widgets.data_table import ColumnKey

from cli.text.pieces import Piece
from cli.top.rows import COLUMNS, Column, Row, Wish, cells
from cli.top.styles import text_of

__all__ = ["PodTable"]

ROWS: Final = 200  # pods on the screen; the filter finds the others

Cells = list[list[Piece]]


class PodTable(DataTable[Text]):
    """Its rows are places, keyed by their number: what stands there is exchanged, so nothing jumps when the order changes."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "select_cursor", "detail")]  # as inherited, but shown

    def on_mount(self) -> None:
        self.cursor_type = "row"
        self.fixed_columns = 1
        for column in COLUMNS:
            self.add_column(_title(column.title, ""), key=column.key)
        self._shown: list[Row] = []
        self._cells: list[Cells] = []

    @property
    def shown(self) -> int:
        return len(self._shown)

    @property
    def chosen(self) -> Row | None:
        """The row under the cursor."""
        return self._shown[self.cursor_row] if 0 <= self.cursor_row < len(self._shown) else None

    def show(self, rows: Sequence[Row], wish: Wish) -> None:
        """The cursor stays on its pod; on the first row it stays there."""
        rows = rows[:ROWS]
        before, kept = self._cells, self.chosen if self.cursor_row else None
        self._shown, self._cells = list(rows), [cells(row) for row in rows]
        self._head(wish)
        for place in range(len(before) - 1, len(rows) - 1, -1):
            self.remove_row(str(place))
        for place, now in enumerate(self._cells):
            if place < len(before):
                self._exchange(place, before[place], now)
            else:
                self.add_row(*map(_cell, now, COLUMNS), key=str(place))
        places = {row.key: place for place, row in enumerate(rows)}
        if kept and kept.key in places and places[kept.key] != self.cursor_row:
            self.move_cursor(row=places[kept.key], scroll=False)

    def _exchange(self, place: int, before: Cells, now: Cells) -> None:
        for column, old, new in zip(COLUMNS, before, now, strict=True):
            if old != new:
                cell = _cell(new, column)
                # Columns only grow: for one that may shrink Textual measures all of its cells for each that changes.
                wider = cell.cell_len > self.columns[ColumnKey(column.key)].content_width
                self.update_cell(str(place), column.key, cell, update_width=wider)

    def _head(self, wish: Wish) -> None:
        for column, shown in zip(COLUMNS, self.ordered_columns, strict=True):
            label = _title(column.title, ("▲" if wish.turned else "▼") if column.sort == wish.sort else "")
            if shown.label != label:
                shown.label = label
                self.refresh()


def _title(title: str, sign: str) -> Text:
    return Text(f"{title} {sign or ' '}", style="bold")


def _cell(pieces: Sequence[Piece], column: Column) -> Text:
    return text_of(pieces, right=column.right)
