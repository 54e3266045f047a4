"""The table of pods. Its headings sort it, and its cursor stays on a pod when the order changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.widgets import DataTable
from textual.widgets.data_table import ColumnKey

from cli.text.pieces import Piece
from cli.top.rows import COLUMNS, Column, Row, TableView, cells
from cli.top.styles import text_of

__all__ = ["PodTable"]

MAX_ROWS: Final = 200  # pods in the table; the filter finds the others

Cells = list[list[Piece]]


class PodTable(DataTable[Text]):
    """Its rows are keyed by position, and their cells are replaced, so that nothing jumps when the order changes."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "select_cursor", "detail")]  # the inherited binding, but shown

    def on_mount(self) -> None:
        self.cursor_type = "row"
        self.fixed_columns = 1
        for column in COLUMNS:
            self.add_column(_title(column.title, ""), key=column.key)
        self._shown: list[Row] = []
        self._cells: list[Cells] = []

    @property
    def shown(self) -> int:
        """The number of pods in the table."""
        return len(self._shown)

    @property
    def selected(self) -> Row | None:
        """The row under the cursor."""
        return self._shown[self.cursor_row] if 0 <= self.cursor_row < len(self._shown) else None

    def show(self, rows: Sequence[Row], view: TableView) -> None:
        """Replaces the rows. The cursor stays on its pod; on the first row it stays on the first row."""
        rows = rows[:MAX_ROWS]
        before, kept = self._cells, self.selected if self.cursor_row else None
        self._shown, self._cells = list(rows), [cells(row) for row in rows]
        self._update_headings(view)
        for index in range(len(before) - 1, len(rows) - 1, -1):
            self.remove_row(str(index))
        for index, now in enumerate(self._cells):
            if index < len(before):
                self._update_row(index, before[index], now)
            else:
                self.add_row(*map(_cell, now, COLUMNS), key=str(index))
        places = {row.key: index for index, row in enumerate(rows)}
        if kept and kept.key in places and places[kept.key] != self.cursor_row:
            self.move_cursor(row=places[kept.key], scroll=False)

    def _update_row(self, index: int, before: Cells, now: Cells) -> None:
        for column, old, new in zip(COLUMNS, before, now, strict=True):
            if old != new:
                cell = _cell(new, column)
                # Columns only grow: to shrink one, Textual measures all of its cells for each cell that changes.
                wider = cell.cell_len > self.columns[ColumnKey(column.key)].content_width
                self.update_cell(str(index), column.key, cell, update_width=wider)

    def _update_headings(self, view: TableView) -> None:
        for column, heading in zip(COLUMNS, self.ordered_columns, strict=True):
            label = _title(column.title, ("▲" if view.reverse else "▼") if column.sort == view.sort else "")
            if heading.label != label:
                heading.label = label
                self.refresh()


def _title(title: str, sign: str) -> Text:
    return Text(f"{title} {sign or ' '}", style="bold")


def _cell(pieces: Sequence[Piece], column: Column) -> Text:
    return text_of(pieces, right=column.right)
