"""One look at the store: a client, and from when on what came is not hidden for its age.

The engine knows no moment that several questions share, so rows of one look may be a batch apart. Must not live here:
questions.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from clickhouse_connect.driver.client import Client

__all__ = ["Look"]


class Look(NamedTuple):
    """`since`: ns; what nobody has spoken of since then is forgotten. `until`: ns; filed after it may be half written, or still
    on its way from another collector."""

    client: Client
    since: int
    until: int

    def rows(self, question: str, **values: object) -> list[Any]:
        """`values` are bound, never written into the question. Raises ClickHouseError."""
        return list(self.client.query(question, parameters={"since": self.since, **values}).result_rows)
