"""The token by which ClickHouse skips a replayed insert."""

from collector.store.commit import Commit
from collector.store.received_ids import ReceivedIds
from tests.collector.conftest import lines_of

NOW = 1_700_000_000_000_000_000  # ns


def token_of(*batches, received=NOW, known=None):
    commit = Commit(ReceivedIds() if known is None else known, {}, received, lambda _body: True)
    for batch in batches:
        commit.add(batch, "collector")
    return commit.token()


def test_the_same_batches_have_the_same_token_in_any_order_and_others_another(make):
    one, two = lines_of(make.fork(1), make.fork(2)), lines_of(make.fork(4), make.gap(1, 4))
    assert token_of(one, two) == token_of(two, one, received=NOW + 1) != token_of(one)


def test_two_commits_of_duplicates_have_two_tokens_or_the_second_would_be_skipped(make):
    """Each writes its stream again: when it was last seen, and what its agent calls this collector."""
    known, batch = ReceivedIds(), lines_of(make.fork(1))
    tokens = [token_of(batch, received=NOW + n, known=known) for n in range(3)]
    assert len(set(tokens)) == 3
