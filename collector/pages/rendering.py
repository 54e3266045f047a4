"""Templates and static files, read once: every name in HTML is escaped, every file's address changes with its content.

Must not live here: routes, and any word in HTML that is not in `templates/`.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from aiohttp import web
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from collector.http.responses import refuse

__all__ = ["Rendering", "root_of"]

_HERE: Final = Path(__file__).parent
_TYPES: Final = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
COMPRESSED: Final = 4096  # bytes from which on gzip is worth its while


class Rendering:
    def __init__(self) -> None:
        # StrictUndefined: a word that the model lacks is a mistake here, not an empty place there.
        self._templates = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=select_autoescape(default=True),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._static = {
            path.name: (path.read_bytes(), _TYPES[path.suffix])
            for path in sorted((_HERE / "static").iterdir())
            if path.suffix in _TYPES
        }
        # In the files' addresses, so that a browser never runs an old script on a new page.
        self._mark = hashlib.sha256(b"".join(body for body, _ in self._static.values())).hexdigest()[:12]

    def page(self, name: str, request: web.Request, **words: object) -> bytes:
        """`name`: a template, without its ending. May take a while with many rows: for a thread."""
        template = self._templates.get_template(f"{name}.html")
        return template.render(root=root_of(request), mark=self._mark, **words).encode("utf-8", "replace")

    def file(self, request: web.Request) -> web.Response:
        found = self._static.get(request.match_info["name"])
        if found is None:
            refuse(404, "no such file")
        body, kind = found
        fresh = request.query.get("v") == self._mark
        kept = "public, max-age=31536000, immutable" if fresh else "no-cache"
        answer = web.Response(body=body, content_type=kind, charset="utf-8", headers={"Cache-Control": kept})
        answer.enable_compression()
        return answer


def root_of(request: web.Request) -> str:
    """The way up to the collector's root, which a proxy may have put anywhere."""
    return "../" * (request.rel_url.raw_path.count("/") - 1) or "./"


def html(body: bytes, status: int = 200) -> web.Response:
    answer = web.Response(
        body=body, status=status, content_type="text/html", charset="utf-8", headers={"Cache-Control": "no-store"}
    )
    if len(body) > COMPRESSED:
        answer.enable_compression()
    return answer
