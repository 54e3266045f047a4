"""Static files are compressed once, not at each request."""

import gzip
from pathlib import Path

import pytest
from aiohttp.test_utils import make_mocked_request

from collector.pages import rendering
from collector.pages.rendering import Rendering

STATIC = Path(rendering.__file__).parent / "static"


def get(files, name, **headers):
    request = make_mocked_request("GET", f"/static/{name}", headers=headers, match_info={"name": name})
    return files.file(request)


@pytest.mark.parametrize("name", ["frame.css", "live.js"])
def test_a_static_file_is_compressed_once(name):
    files = Rendering()
    first, second = (get(files, name, **{"Accept-Encoding": "deflate, gzip"}) for _ in range(2))
    assert first.body is second.body and not first.compression
    assert first.headers["Content-Encoding"] == "gzip" and first.headers["Vary"] == "Accept-Encoding"
    assert gzip.decompress(first.body) == (STATIC / name).read_bytes() and len(first.body) < len((STATIC / name).read_bytes())


def test_a_client_without_gzip_gets_the_file_as_it_is():
    answer = get(Rendering(), "live.js")
    assert answer.body == (STATIC / "live.js").read_bytes()
    assert "Content-Encoding" not in answer.headers and answer.headers["Vary"] == "Accept-Encoding"
