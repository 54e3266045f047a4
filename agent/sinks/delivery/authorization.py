"""Makes the headers that authorize a request, from the text of a token file. Pure."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable

__all__ = ["Authorization", "authorization"]

Authorization = Callable[[str], dict[str, str]]


def authorization(auth: str, username: str | None = None, header: str | None = None) -> Authorization:
    """Returns a function: a token file's text -> headers. It raises ValueError, whose text never contains the token.

    `auth`: bearer, splunk, api_key, basic or header. `username`: for basic, when the file has the password only. `header`: the
    name of the header that is the token and nothing else.
    """

    def headers(token: str) -> dict[str, str]:
        token = token.strip()
        if not token:
            raise ValueError("the token file is empty")
        if not token.isprintable():
            raise ValueError("the token file has more than one line, or unprintable characters")
        if auth == "basic":
            if username is None and ":" not in token:
                raise ValueError("the token file must hold user:password, or set username")
            return {"Authorization": f"Basic {_base64(token if username is None else f'{username}:{token}')}"}
        if not token.isascii():
            raise ValueError("the token is not ASCII")
        if header is not None:
            return {header: token}
        if auth == "api_key":
            return {"Authorization": f"ApiKey {_base64(token) if ':' in token else token}"}
        return {"Authorization": f"{'Splunk' if auth == 'splunk' else 'Bearer'} {token}"}

    return headers


def _base64(text: str) -> str:
    return b64encode(text.encode()).decode("ascii")
