"""The Textual application of `forklore top`."""

from __future__ import annotations

from textual.app import App
from textual.screen import Screen

from cli.client.client import Collector, Query
from cli.client.errors import CommandError
from cli.client.json_view import JsonView
from cli.top.pods import PodsScreen
from cli.top.rows import TableView

__all__ = ["Top"]


class Top(App[CommandError]):
    """Returns the error that ended it, if any. `answer`: the first answer of /v1/pods, shown at once."""

    TITLE = "forklore top"
    ENABLE_COMMAND_PALETTE = False

    def __init__(self, collector: Collector, query: Query, view: TableView, interval: float, answer: JsonView) -> None:
        super().__init__()
        self._first = PodsScreen(collector, query, view, interval, answer)

    def get_default_screen(self) -> Screen[None]:
        return self._first
