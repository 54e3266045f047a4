"""The accounts of all streams and sinks, and which of their counts have changed since they were last saved.

A count is saved as it is, not as what was added: saved twice, it is still right.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from agent.journal.rows import AccountRow, Changes
from agent.ledger import FORGOTTEN, Account

__all__ = ["Accounts", "JournalAccount"]

_DELIVERED: Final = "delivered"
_LOST: Final = "lost"
_FILTERED: Final = "filtered"


class JournalAccount(Account):
    """An account that notes which of its counts changed. `changed`: outcome (delivered, lost, filtered), reason, cgroup."""

    def __init__(self) -> None:
        super().__init__()
        self.changed: set[tuple[str, str, int]] = set()

    def deliver(self, forks: Mapping[int, int]) -> None:
        super().deliver(forks)
        self.changed.update((_DELIVERED, "", cgroup) for cgroup in forks)

    def lose(self, reason: str, forks: Mapping[int, int]) -> None:
        super().lose(reason, forks)
        self.changed.update((_LOST, reason, cgroup) for cgroup in forks)

    def leave_out(self, reason: str, forks: Mapping[int, int]) -> None:
        super().leave_out(reason, forks)
        self.changed.update((_FILTERED, reason, cgroup) for cgroup in forks)

    def forget(self, cgroup: int) -> None:
        for outcome, reason, forks in self._counts():
            if cgroup in forks:
                self.changed |= {(outcome, reason, cgroup), (outcome, reason, FORGOTTEN)}
        super().forget(cgroup)

    def change_all(self) -> None:
        self.changed.update((outcome, reason, cgroup) for outcome, reason, forks in self._counts() for cgroup in forks)

    def count(self, outcome: str, reason: str, cgroup: int) -> int:
        if outcome == _DELIVERED:
            return self.delivered[cgroup]
        by_reason = self.lost if outcome == _LOST else self.filtered
        return by_reason[reason][cgroup] if reason in by_reason else 0

    def load(self, outcome: str, reason: str, cgroup: int, forks: int) -> None:
        """Adds what the file has; this is not a change."""
        if outcome == _DELIVERED:
            self.delivered[cgroup] += forks
        else:
            (self.lost if outcome == _LOST else self.filtered).setdefault(reason, Counter())[cgroup] += forks

    def _counts(self) -> list[tuple[str, str, Counter[int]]]:
        lost = [(_LOST, reason, forks) for reason, forks in self.lost.items()]
        filtered = [(_FILTERED, reason, forks) for reason, forks in self.filtered.items()]
        return [(_DELIVERED, "", self.delivered), *lost, *filtered]


class Accounts:
    """By stream and sink."""

    def __init__(self) -> None:
        self._accounts: dict[tuple[str, str], JournalAccount] = {}
        self._forgotten: set[str] = set()

    def of(self, stream: str, sink: str) -> JournalAccount:
        """Makes the account when there is none."""
        account = self._accounts.get((stream, sink))
        if account is None:
            account = self._accounts[stream, sink] = JournalAccount()
        return account

    def streams(self) -> set[str]:
        return {stream for stream, _ in self._accounts}

    def load(self, counts: Iterable[AccountRow]) -> None:
        """Adds what the file has to what was counted before it could be read."""
        for one in counts:
            self.of(one.stream, one.sink).load(one.outcome, one.reason, one.cgroup, one.forks)

    def forget(self, stream: str) -> None:
        for of_stream, sink in [*self._accounts]:
            if of_stream == stream:
                del self._accounts[of_stream, sink]
        self._forgotten.add(stream)

    def take(self) -> tuple[list[str], list[AccountRow]]:
        """For a commit: streams whose accounts are to be deleted, counts that are to be written."""
        forgotten, counts = list(self._forgotten), []
        self._forgotten.clear()
        for (stream, sink), account in self._accounts.items():
            if account.changed:
                counts += [AccountRow(stream, sink, *one, account.count(*one)) for one in account.changed]
                account.changed.clear()
        return forgotten, counts

    def failed(self, changes: Changes) -> None:
        self._forgotten.update(changes.forgotten)
        for stream, sink, outcome, reason, cgroup, _ in changes.accounts:
            if account := self._accounts.get((stream, sink)):
                account.changed.add((outcome, reason, cgroup))

    def restage(self) -> None:
        self._forgotten.clear()
        for account in self._accounts.values():
            account.change_all()
