"""One pod on the screen of `forklore top`: what it is and lacks, its pairs, its lineage, its latest forks.

Must not live here: what the lines say (`facts`, `cli.text.tree_lines`).
"""

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
from cli.client.errors import Trouble
from cli.text.pieces import Piece
from cli.text.tree_lines import heading, lineage
from cli.top.facts import latest_lines, overview_lines, pair_lines
from cli.top.rows import Row
from cli.top.styles import text_of, texts_of

__all__ = ["PodScreen"]

TREE: Final = 10.0  # seconds between two looks at the lineage, which costs the collector more than the counts
PROCESSES: Final = 500  # of the lineage, the newest: more than anyone scrolls through
LATEST: Final = 100  # forks
PANES: Final = ("overview", "pairs", "lineage", "latest")


class PodScreen(Screen[None]):
    """`row`: as the table had it, which is shown until the collector has told more."""

    CSS = """
    #name, #trouble { height: auto; padding: 0 1; }
    TabbedContent { height: 1fr; }
    TabPane { padding: 0; }
    VerticalScroll { padding: 0 1; overflow-x: auto; }
    VerticalScroll Static { width: auto; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,backspace", "app.pop_screen", "back"),
        *(Binding(str(place + 1), f"pane('{pane}')", pane) for place, pane in enumerate(PANES)),
        Binding("q", "app.quit", "quit"),
        Binding("ctrl+c", "app.quit", show=False),
    ]

    def __init__(self, collector: Collector, row: Row, interval: float) -> None:
        super().__init__()
        self._collector, self._row, self._interval = collector, row, interval
        name = [Piece(row.name, "strong"), *([Piece("  in a storm", "bad")] if row.in_storm else [])]
        self._heading = Static(text_of(name), id="name", markup=False)
        self._panes = {pane: Static("...", id=f"in-{pane}", markup=False) for pane in PANES}
        self._trouble = Static(id="trouble", markup=False)

    def compose(self) -> ComposeResult:
        yield self._heading
        with TabbedContent(initial=PANES[0]):
            for pane, inside in self._panes.items():
                with TabPane(pane, id=pane), VerticalScroll():
                    yield inside
        yield self._trouble
        yield Footer()

    def on_mount(self) -> None:
        self._show("overview", overview_lines(self._row.entry))
        self.call_after_refresh(self._settle)
        self._live()

    def _settle(self) -> None:
        """On the first pane, or on the one that somebody was quick to ask for."""
        self.action_pane(self.query_one(TabbedContent).active or PANES[0])

    def action_pane(self, pane: str) -> None:
        self.query_one(TabbedContent).active = pane
        self.query_one(f"#{pane} VerticalScroll").focus()

    @work(name="pod")
    async def _live(self) -> None:
        path = self._path()
        if path is None:
            for pane in PANES[1:]:
                self._show(pane, [[Piece("it can only be asked for by namespace and name, which are not known", "dim")]])
            return
        grown = -TREE
        while True:
            try:
                pod = await self._collector.get(path, self._query(LATEST))
                self._show("overview", overview_lines(pod))
                self._show("latest", latest_lines(pod))
                if time.monotonic() - grown >= TREE:
                    await self._grow(path)
                    grown = time.monotonic()
                self._say("")
            except Trouble as trouble:
                self._say(str(trouble))
            await asyncio.sleep(self._interval)

    async def _grow(self, path: tuple[str, ...]) -> None:
        tree = await self._collector.get((*path, "tree"), self._query(PROCESSES))
        self._show("pairs", pair_lines(tree))
        self._show("lineage", [heading(tree), [], *lineage(tree)])

    def _query(self, limit: int) -> list[tuple[str, str]]:
        """Of this very pod, also when another has its name."""
        exactly = [("cluster", self._row.cluster), ("pod_uid", self._row.uid), ("limit", str(limit))]
        return [(name, said) for name, said in exactly if said]

    def _path(self) -> tuple[str, ...] | None:
        namespace, pod = self._row.namespace, self._row.pod
        return ("v1", "pods", namespace, pod) if namespace and pod and not self._row.is_host else None

    def _show(self, pane: str, lines: Iterable[list[Piece]]) -> None:
        self._panes[pane].update(texts_of(lines))

    def _say(self, text: str) -> None:
        self._trouble.update(Text(text, style="bold red"))
