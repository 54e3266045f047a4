"""A token is sent as its receiver requires, and an invalid token is never shown."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.sinks.delivery.authorization import authorization

KEY = base64.b64encode(b"id:key").decode()


@pytest.mark.parametrize(
    ("auth", "token", "shown"),
    [
        ("bearer", "abc", "Bearer abc"),
        ("bearer", " abc\n", "Bearer abc"),
        ("splunk", "abc", "Splunk abc"),
        ("api_key", KEY, f"ApiKey {KEY}"),
        ("api_key", "id:key", f"ApiKey {KEY}"),
        ("basic", "id:key", f"Basic {KEY}"),
        ("basic", "id:k:e:y", "Basic " + base64.b64encode(b"id:k:e:y").decode()),
        ("basic", "ich:schlüssel", "Basic " + base64.b64encode("ich:schlüssel".encode()).decode()),
    ],
)
def test_each_scheme_sends_the_token_in_its_own_header(auth, token, shown):
    assert authorization(auth)(token) == {"Authorization": shown}


def test_a_password_is_sent_with_the_user_name_of_the_settings():
    assert authorization("basic", "id")("key") == {"Authorization": f"Basic {KEY}"}
    assert authorization("basic", "id")("k:ey") == {"Authorization": "Basic " + base64.b64encode(b"id:k:ey").decode()}


def test_a_token_header_has_the_token_and_nothing_else():
    assert authorization("header", header="DD-API-KEY")("abc") == {"DD-API-KEY": "abc"}


@pytest.mark.parametrize("auth", ["bearer", "splunk", "api_key", "basic", "header"])
@given(st.text(max_size=12))
def test_no_token_makes_a_header_of_two_lines_or_is_in_an_error(auth, text):
    try:
        (value,) = authorization(auth, header="X-Key" if auth == "header" else None)(text).values()
    except ValueError as error:
        assert len(text.strip()) < 3 or text.strip() not in str(error)
    else:
        assert value.isascii()
        assert value.isprintable()


@pytest.mark.parametrize("text", ["", " \n", "a\nb", "a\r\nX-Admin: 1", "s3cr\u00e9t", "s3\x00cr", "\u202es3cr"])
def test_an_invalid_token_is_refused_with_a_reason(text):
    with pytest.raises(ValueError, match="token") as refusal:
        authorization("bearer")(text)
    assert "s3" not in str(refusal.value)


def test_an_unknown_scheme_is_refused():
    with pytest.raises(AssertionError, match="digest"):
        authorization("digest")("s3cr3t")


def test_basic_without_a_user_name_is_refused():
    with pytest.raises(ValueError, match="user:password"):
        authorization("basic")("s3cr3t")
