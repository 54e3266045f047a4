"""Templates and static files, read once. Every name in HTML is escaped, and every file's address changes with its content."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path
from typing import Final, NamedTuple

from aiohttp import web
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from collector.http.responses import refuse
from wire.names import escape_controls

__all__ = ["Rendering", "html_response", "relative_root"]

_HERE: Final = Path(__file__).parent
_TYPES: Final = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
MIN_COMPRESSED: Final = 4096  # bytes from which on gzip saves time


class _StaticFile(NamedTuple):
    body: bytes
    compressed: bytes  # gzip
    content_type: str


class Rendering:
    def __init__(self) -> None:
        # StrictUndefined: a name that the model lacks is an error, not an empty place on the page.
        self._templates = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=select_autoescape(default=True),
            undefined=StrictUndefined,
            finalize=_printable,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._static = {path.name: _static_file(path) for path in sorted((_HERE / "static").iterdir()) if path.suffix in _TYPES}
        # Part of the files' addresses, so that a browser never runs an old script on a new page.
        self._version = hashlib.sha256(b"".join(file.body for file in self._static.values())).hexdigest()[:12]

    def page(self, name: str, request: web.Request, **model: object) -> bytes:
        """`name`: a template, without its suffix. Takes long with many rows, so it belongs into a thread."""
        template = self._templates.get_template(f"{name}.html")
        return template.render(root=relative_root(request), version=self._version, **model).encode("utf-8", "replace")

    def file(self, request: web.Request) -> web.Response:
        file = self._static.get(request.match_info["name"])
        if file is None:
            refuse(404, "no such file")
        is_current = request.query.get("v") == self._version
        caching = "public, max-age=31536000, immutable" if is_current else "no-cache"
        headers = {"Cache-Control": caching, "Vary": "Accept-Encoding"}
        body = file.body
        if "gzip" in request.headers.get("Accept-Encoding", "").lower():
            body, headers["Content-Encoding"] = file.compressed, "gzip"
        return web.Response(body=body, content_type=file.content_type, charset="utf-8", headers=headers)


def _printable(value: object) -> object:
    """Whatever a template writes, into text or an attribute: control and bidirectional characters are escaped, so that no name
    can hide or reorder what is beside it. The result of a macro has been here already."""
    return value if hasattr(value, "__html__") else escape_controls(str(value))


def _static_file(path: Path) -> _StaticFile:
    body = path.read_bytes()
    return _StaticFile(body, gzip.compress(body, mtime=0), _TYPES[path.suffix])


def relative_root(request: web.Request) -> str:
    """The relative path to the collector's root, which a proxy may serve under any path."""
    return "../" * (request.rel_url.raw_path.count("/") - 1) or "./"


def html_response(body: bytes, status: int = 200) -> web.Response:
    response = web.Response(
        body=body, status=status, content_type="text/html", charset="utf-8", headers={"Cache-Control": "no-store"}
    )
    if len(body) > MIN_COMPRESSED:
        response.enable_compression()
    return response
