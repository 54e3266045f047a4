"""The screen of one pod in `forklore top`: its overview, pairs, lineage and latest forks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import ClassVar, Final

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import Screen
from textual.widgets import Footer, Static, TabbedContent, TabPane

from cli.client.client import Collector
from cli.client.errors import CommandError
from cli.text.pieces import Piece
from cli.text.tree_lines import heading, tree_lines
from cli.top.pod_lines import latest_lines, overview_lines, pair_lines
from cli.top.rows import Row
from cli.top.styles import text_of, texts_of

__all__ = ["PodScreen"]

TREE_INTERVAL: Final = 10.0  # seconds between two requests for the lineage, which costs the collector more than the counts
TREE_LIMIT: Final = 500  # the newest processes of the lineage: more than anyone scrolls through
LATEST_LIMIT: Final = 100  # forks
PANES: Final = ("overview", "pairs", "lineage", "latest")


class PodScreen(Screen[None]):
    """`row`: from the table; shown until the collector has answered with more."""

    CSS = """
    #name, #error { height: auto; padding: 0 1; }
    TabbedContent { height: 1fr; }
    TabPane { padding: 0; }
    VerticalScroll { padding: 0 1; overflow-x: auto; }
    VerticalScroll Static { width: auto; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,backspace", "app.pop_screen", "back"),
        *(Binding(str(index + 1), f"pane('{pane}')", pane) for index, pane in enumerate(PANES)),
        Binding("q", "app.quit", "quit"),
        Binding("ctrl+c", "app.quit", show=False),
    ]

    def __init__(self, collector: Collector, row: Row, interval: float) -> None:
        super().__init__()
        self._collector, self._row, self._interval = collector, row, interval
        name = [Piece(row.name, "strong"), *([Piece("  in a storm", "bad")] if row.in_storm else [])]
        self._heading = Static(text_of(name), id="name", markup=False)
        self._panes = {pane: Static("...", id=f"in-{pane}", markup=False) for pane in PANES}
        self._error_line = Static(id="error", markup=False)

    def compose(self) -> ComposeResult:
        yield self._heading
        with TabbedContent(initial=PANES[0]):
            for pane, content in self._panes.items():
                with TabPane(pane, id=pane), VerticalScroll():
                    yield content
        yield self._error_line
        yield Footer()

    def on_mount(self) -> None:
        self._show("overview", overview_lines(self._row.entry))
        self.call_after_refresh(self._focus_pane)
        self._refresh_forever()

    def _focus_pane(self) -> None:
        """Focuses the first pane, or the one that was selected before the screen was drawn."""
        self.action_pane(self.query_one(TabbedContent).active or PANES[0])

    def action_pane(self, pane: str) -> None:
        self.query_one(TabbedContent).active = pane
        self.query_one(f"#{pane} VerticalScroll").focus()

    @work(name="pod")
    async def _refresh_forever(self) -> None:
        path = self._path()
        if path is None:
            for pane in PANES[1:]:
                self._show(pane, [[Piece("not available: the namespace and name of the pod are not known", "dim")]])
            return
        tree_read_at = -TREE_INTERVAL
        while True:
            try:
                pod = await self._collector.get(path, self._query(LATEST_LIMIT))
                self._show("overview", overview_lines(pod))
                self._show("latest", latest_lines(pod))
                if time.monotonic() - tree_read_at >= TREE_INTERVAL:
                    await self._update_tree(path)
                    tree_read_at = time.monotonic()
                self._show_error("")
            except CommandError as error:
                self._show_error(str(error))
            await asyncio.sleep(self._interval)

    async def _update_tree(self, path: tuple[str, ...]) -> None:
        tree = await self._collector.get((*path, "tree"), self._query(TREE_LIMIT))
        self._show("pairs", pair_lines(tree))
        self._show("lineage", [heading(tree), [], *tree_lines(tree)])

    def _query(self, limit: int) -> list[tuple[str, str]]:
        """Selects exactly this pod, even if another has the same name."""
        parameters = [("cluster", self._row.cluster), ("pod_uid", self._row.uid), ("limit", str(limit))]
        return [(name, value) for name, value in parameters if value]

    def _path(self) -> tuple[str, ...] | None:
        namespace, pod = self._row.namespace, self._row.pod
        return ("v1", "pods", namespace, pod) if namespace and pod and not self._row.is_host else None

    def _show(self, pane: str, lines: Iterable[list[Piece]]) -> None:
        self._panes[pane].update(texts_of(lines))

    def _show_error(self, text: str) -> None:
        self._error_line.update(Text(text, style="bold red"))
