"""Makes the headers that authorize a request, from the text of a token file. Pure."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from typing import Literal, assert_never

__all__ = ["Auth", "Authorization", "authorization"]

Auth = Literal["bearer", "splunk", "api_key", "basic", "header"]
Authorization = Callable[[str], dict[str, str]]


def authorization(auth: Auth, username: str | None = None, header: str | None = None) -> Authorization:
    """Returns a function: a token file's text -> headers. It raises ValueError, whose text never contains the token.

    `username`: for basic, when the file has the password only. `header`: the
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
        match auth:
            case "api_key":
                return {"Authorization": f"ApiKey {_base64(token) if ':' in token else token}"}
            case "splunk":
                return {"Authorization": f"Splunk {token}"}
            case "bearer":
                return {"Authorization": f"Bearer {token}"}
            case "header":
                raise ValueError("`auth: header` has no token_header")
            case unknown:
                assert_never(unknown)

    return headers


def _base64(text: str) -> str:
    return b64encode(text.encode()).decode("ascii")
