"""`forklore top` on a terminal. Must not live here: what its screens show (`pods`, `pod`)."""

from __future__ import annotations

from textual.app import App
from textual.screen import Screen

from cli.client.client import Collector, Query
from cli.client.errors import Trouble
from cli.client.json_view import Said
from cli.top.pods import PodsScreen
from cli.top.rows import Wish

__all__ = ["Top"]


class Top(App[Trouble]):
    """Gives the trouble that ended it, if one did. `answer`: the first one, so that it begins with pods."""

    TITLE = "forklore top"
    ENABLE_COMMAND_PALETTE = False

    def __init__(self, collector: Collector, query: Query, wish: Wish, interval: float, answer: Said) -> None:
        super().__init__()
        self._first = PodsScreen(collector, query, wish, interval, answer)

    def get_default_screen(self) -> Screen[None]:
        return self._first
