"""The sign-in that a browser needs when there is a token: a form, and a cookie for it.

Must not live here: whose token is good for what (`access`).
"""

from __future__ import annotations

import asyncio
from typing import Final
from urllib.parse import quote

from aiohttp import web

from collector.http.access import Access
from collector.http.tokens import COOKIE
from collector.pages.rendering import Rendering, html

__all__ = ["SignIn"]

WRONG_TOKEN_WAIT: Final = 0.5  # seconds before a wrong token is told so
WEEK: Final = 7 * 86400  # seconds that a browser stays signed in
LONGEST: Final = 4000  # letters of an address to come back to


class SignIn:
    def __init__(self, rendering: Rendering, access: Access) -> None:
        self._rendering, self._access = rendering, access

    def open(self, router: web.UrlDispatcher) -> None:
        router.add_get("/signin", self._home)
        router.add_post("/signin", self._sign_in)
        router.add_post("/signout", self._sign_out)

    def ask(self, request: web.Request, back: str, wrong: str = "") -> web.Response:
        """`back`: the address, relative to the root, that was asked for."""
        answer = html(self._rendering.page("signin", request, wrong=wrong, back=back), 401)
        answer.headers["WWW-Authenticate"] = 'Bearer realm="forklore"'
        return answer

    async def _sign_in(self, request: web.Request) -> web.Response:
        form = await request.post()
        token, back = form.get("token"), form.get("back")
        back = back if isinstance(back, str) else ""
        if not isinstance(token, str) or not self._access.fits(token):
            await asyncio.sleep(WRONG_TOKEN_WAIT)
            return self.ask(request, back, "That is not the token.")
        answer = _go(back)
        secure = self._access.scheme(request) == "https"
        answer.set_cookie(
            COOKIE, self._access.cookie(token), httponly=True, samesite="Strict", secure=secure, max_age=WEEK, path="/"
        )
        return answer

    async def _home(self, _request: web.Request) -> web.Response:
        return _go("")

    async def _sign_out(self, _request: web.Request) -> web.Response:
        answer = _go("")
        answer.del_cookie(COOKIE, path="/")
        return answer


def _go(back: str) -> web.Response:
    """To an address of ours, whatever the form says: what follows `./` can't leave this host."""
    return web.Response(status=303, headers={"Location": "./" + quote(back[:LONGEST], safe="/?&=%:,+-._~")})
