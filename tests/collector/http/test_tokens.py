"""Files of tokens are read again when they change, and stay valid while a change is half done."""

import os

import pytest

from collector.http.tokens import TokenFile

ONE, TWO = "one" * 8, "two" * 8


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "tokens"
    path.write_text(ONE)
    return path


def test_a_changed_file_is_read_again(path):
    tokens = TokenFile(path)
    assert tokens.token(ONE)
    path.with_suffix(".new").write_text(TWO)
    path.with_suffix(".new").replace(path)
    assert tokens.token(TWO)
    assert not tokens.token(ONE)


def test_a_file_is_read_again_though_size_time_and_inode_are_the_same(path):
    tokens, before = TokenFile(path), path.stat()
    assert tokens.token(ONE)
    while path.stat().st_ctime_ns == before.st_ctime_ns:  # the file system's clock has its ticks
        path.write_text(TWO)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns, path.stat().st_ino) == (
        before.st_size,
        before.st_mtime_ns,
        before.st_ino,
    )
    assert tokens.token(TWO)
    assert not tokens.token(ONE)


def test_the_last_tokens_stay_valid_while_the_file_is_missing_or_empty_and_one_line_says_so(path, caplog):
    tokens = TokenFile(path)
    assert tokens.token(ONE)
    path.unlink()
    assert tokens.token(ONE)
    path.write_text("")
    assert tokens.token(ONE)
    assert tokens.token(ONE)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    path.write_text(TWO)
    assert tokens.token(TWO)
    assert not tokens.token(ONE)


def test_a_file_that_is_not_there_yet_is_read_when_it_is(tmp_path):
    tokens = TokenFile(tmp_path / "later")
    assert not tokens.token(ONE)
    (tmp_path / "later").write_text(ONE)
    assert tokens.token(ONE)
