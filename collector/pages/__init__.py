"""The page at `/`, its updates, its static files, and the sign-in that a browser needs when there is a token.

Must not live here: what the page says (`views.display`), and any word in HTML that is not in `templates/`.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from aiohttp import web
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from collector.answers import failed, told
from collector.store import Store
from collector.tokens import COOKIE, Tokens
from collector.views.details import host_detail, pod_detail
from collector.views.display import SORTS, Wish, page_model
from collector.views.pods import host_json, pod_json
from collector.views.words import visible

__all__ = ["Pages"]

_HERE: Final = Path(__file__).parent
_TYPES: Final = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
PODS: Final = 1000  # looked at for one page, the most recently seen
LATEST: Final = 50  # forks in the panel
WRONG_TOKEN_WAIT: Final = 0.5  # seconds before a wrong token is told so
WEEK: Final = 7 * 86400  # seconds that a browser stays signed in


class Pages:
    """Open to everyone when no token is wanted; else to who shows it, in a header or once in the form."""

    def __init__(self, store: Store, tokens: Tokens) -> None:
        self._store, self._tokens = store, tokens
        # StrictUndefined: a word that the model lacks is a mistake here, not an empty place there.
        templates = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=select_autoescape(default=True),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._page, self._signin = templates.get_template("page.html"), templates.get_template("signin.html")
        self._static = {
            path.name: (path.read_bytes(), _TYPES[path.suffix])
            for path in sorted((_HERE / "static").iterdir())
            if path.suffix in _TYPES
        }
        # In the files' addresses, so that a browser never runs an old script on a new page.
        self._mark = hashlib.sha256(b"".join(body for body, _ in self._static.values())).hexdigest()[:12]

    def open(self, router: web.UrlDispatcher) -> None:
        router.add_get("/", self._get)
        router.add_get("/page.json", self._update)
        router.add_get("/signin", self._home)
        router.add_post("/signin", self._sign_in)
        router.add_post("/signout", self._sign_out)
        router.add_get("/static/{name}", self._file)

    async def _get(self, request: web.Request) -> web.Response:
        if not self._welcome(request):
            return self._ask(401, "")
        wish = _wish(request.query)
        model = await self._model(wish)
        # Behind a proxy that ends TLS, the scheme is the proxy's to say.
        scheme = "https" if request.headers.get("X-Forwarded-Proto") == "https" else request.scheme
        address = visible(f"{scheme}://{request.host}/v1/events"[:300])
        html = await asyncio.to_thread(
            self._page.render, model=model, wish=wish, mark=self._mark, address=address, token=self._tokens.wanted
        )
        return _html(html)

    async def _update(self, request: web.Request) -> web.Response:
        if not self._welcome(request):
            failed(401, "a token is wanted", {"WWW-Authenticate": 'Bearer realm="forklore"'})
        return told(await self._model(_wish(request.query)))

    async def _model(self, wish: Wish) -> dict[str, Any]:
        snapshot, detail = await self._store.pods(PODS), await self._detail(wish.pod)
        return await asyncio.to_thread(page_model, snapshot, wish, detail, time.time_ns())

    async def _detail(self, key: str) -> dict[str, Any] | None:
        """The chosen pod (p17) or host (h:cluster/node); None when there is none of that key."""
        kind, rest = key[:1], key[1:]
        if kind == "p" and rest.isascii() and rest.isdigit() and len(rest) < 18:
            page = await self._store.pod_by_id(int(rest), LATEST)
            return None if page is None else pod_detail(pod_json(page, time.time_ns()), key)
        if key.startswith("h:") and "/" in key:
            cluster, _, node = key[2:].rpartition("/")
            host = host_json(await self._store.host(cluster, node, LATEST), cluster, node, time.time_ns())
            return host_detail(host, key) if host else None
        return None

    async def _sign_in(self, request: web.Request) -> web.Response:
        token = (await request.post()).get("token")
        if not isinstance(token, str) or not self._tokens.fits(token):
            await asyncio.sleep(WRONG_TOKEN_WAIT)
            return self._ask(401, "That is not the token.")
        answer = await self._home(request)
        secure = request.secure or request.headers.get("X-Forwarded-Proto") == "https"
        answer.set_cookie(
            COOKIE, self._tokens.cookie(), httponly=True, samesite="Strict", secure=secure, max_age=WEEK, path="/"
        )
        return answer

    async def _home(self, _request: web.Request) -> web.Response:
        return web.Response(status=303, headers={"Location": "./"})

    async def _sign_out(self, request: web.Request) -> web.Response:
        answer = await self._home(request)
        answer.del_cookie(COOKIE, path="/")
        return answer

    async def _file(self, request: web.Request) -> web.Response:
        found = self._static.get(request.match_info["name"])
        if found is None:
            failed(404, "no such file")
        body, kind = found
        fresh = request.query.get("v") == self._mark
        kept = "public, max-age=31536000, immutable" if fresh else "no-cache"
        return web.Response(body=body, content_type=kind, charset="utf-8", headers={"Cache-Control": kept})

    def _welcome(self, request: web.Request) -> bool:
        tokens = self._tokens
        return (
            not tokens.wanted
            or tokens.fits_header(request.headers.get("Authorization"))
            or tokens.fits_cookie(request.cookies.get(COOKIE))
        )

    def _ask(self, status: int, wrong: str) -> web.Response:
        answer = _html(self._signin.render(mark=self._mark, wrong=wrong))
        answer.set_status(status)
        answer.headers["WWW-Authenticate"] = 'Bearer realm="forklore"'
        return answer


def _wish(query: Mapping[str, str]) -> Wish:
    sort = query.get("sort", "")
    return Wish(query.get("pod", "")[:600], sort if sort in SORTS else SORTS[0], query.get("find", "")[:100])


def _html(text: str) -> web.Response:
    return web.Response(text=text, content_type="text/html", headers={"Cache-Control": "no-store"})
