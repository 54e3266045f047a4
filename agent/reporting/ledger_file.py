"""The ledger file in the state directory: for people, and for the next agent should the journal be gone by then."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import orjson

__all__ = ["LEDGER", "Accounts", "last_accounts", "write_ledger"]

LEDGER: Final = "ledger.json"
Accounts = Mapping[str, Mapping[str, int]]  # of a sink: `delivered` -> cgroup id -> forks


def write_ledger(folder: Path, ledger: Mapping[str, Any]) -> None:
    """Replaces the file as a whole. Blocks for as long as the disk takes. Raises OSError."""
    draft = folder / f"{LEDGER}.new"
    draft.write_bytes(orjson.dumps(ledger, option=orjson.OPT_INDENT_2))
    draft.replace(folder / LEDGER)


def last_accounts(folder: Path, stream: str) -> dict[str, Any] | None:
    """The accounts of a stream, by sink, as the last file has them. None when there is no file that can be used."""
    try:
        ledger = orjson.loads((folder / LEDGER).read_bytes())
        return dict(ledger["accounts"]) if ledger["stream"] == stream else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
