"""The sign-in of a browser where a token is required: a form, and a cookie for the token."""

from __future__ import annotations

import asyncio
from typing import Final
from urllib.parse import quote

from aiohttp import web

from collector.http.access import Access
from collector.http.tokens import COOKIE
from collector.pages.rendering import Rendering, html_response

__all__ = ["SignIn"]

WRONG_TOKEN_DELAY: Final = 0.5  # seconds before the response to a wrong token
COOKIE_AGE: Final = 7 * 86400  # seconds that a browser stays signed in
MAX_ADDRESS: Final = 4000  # characters of the address to return to


class SignIn:
    def __init__(self, rendering: Rendering, access: Access) -> None:
        self._rendering, self._access = rendering, access

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_get("/signin", self._home)
        router.add_post("/signin", self._sign_in)
        router.add_post("/signout", self._sign_out)

    def form(self, request: web.Request, back: str, error: str = "") -> web.Response:
        """`back`: the requested address, relative to the root."""
        response = html_response(self._rendering.page("signin", request, error=error, back=back), 401)
        response.headers["WWW-Authenticate"] = 'Bearer realm="forklore"'
        return response

    async def _sign_in(self, request: web.Request) -> web.Response:
        fields = await request.post()
        token, back = fields.get("token"), fields.get("back")
        back = back if isinstance(back, str) else ""
        cookie = self._access.cookie(token) if isinstance(token, str) else None
        if cookie is None:
            await asyncio.sleep(WRONG_TOKEN_DELAY)
            return self.form(request, back, "This token is not valid.")
        response = _redirect(back)
        secure = self._access.scheme(request) == "https"
        response.set_cookie(COOKIE, cookie, httponly=True, samesite="Strict", secure=secure, max_age=COOKIE_AGE, path="/")
        return response

    async def _home(self, _request: web.Request) -> web.Response:
        return _redirect("")

    async def _sign_out(self, _request: web.Request) -> web.Response:
        response = _redirect("")
        response.del_cookie(COOKIE, path="/")
        return response


def _redirect(back: str) -> web.Response:
    """To an address of this collector, whatever the form contains: what follows `./` cannot leave this host."""
    return web.Response(status=303, headers={"Location": "./" + quote(back[:MAX_ADDRESS], safe="/?&=%:,+-._~")})
