"""What a token file says -> the headers that show it to a receiver. Pure.

Must not live here: reading the file.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable

__all__ = ["Authorization", "authorization"]

Authorization = Callable[[str], dict[str, str]]


def authorization(auth: str, username: str | None = None, header: str | None = None) -> Authorization:
    """`auth`: bearer, splunk, api_key, basic or header. `username`: for basic, when the file has the password only.

    The function raises ValueError, which never says what the token is.
    """

    def show(token: str) -> dict[str, str]:
        token = token.strip()
        if not token:
            raise ValueError("the token file is empty")
        if not token.isprintable():
            raise ValueError("the token file has more than one line, or what is no text")
        if auth == "basic":
            if username is None and ":" not in token:
                raise ValueError("the token file should say user:password, or give username")
            return {"Authorization": f"Basic {_base64(token if username is None else f'{username}:{token}')}"}
        if not token.isascii():
            raise ValueError("the token is not ASCII")
        if header is not None:
            return {header: token}
        if auth == "api_key":
            return {"Authorization": f"ApiKey {_base64(token) if ':' in token else token}"}
        return {"Authorization": f"{'Splunk' if auth == 'splunk' else 'Bearer'} {token}"}

    return show


def _base64(text: str) -> str:
    return b64encode(text.encode()).decode("ascii")
