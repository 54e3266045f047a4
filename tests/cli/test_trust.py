"""A command's trust in its collector: why it ends, in a sentence of its own, and CAs that are exchanged while it runs."""

import pytest

from cli.client.client import Collector
from cli.client.errors import CommandError
from cli.options import Access
from tests.certificates import Authority

from .fake_collector import running_fake_collector


class Certified:
    """What the fake collector asks of a certificate: `configure_cert`."""

    def __init__(self, authority, folder, name="127.0.0.1", days=1):
        self._pair = authority.server_files(folder, name, days=days)

    def configure_cert(self, context):
        context.load_cert_chain(*self._pair)


@pytest.mark.parametrize(
    ("certified", "sentence"),
    [
        (
            lambda known, folder: Certified(Authority(), folder),
            "its certificate is from an unknown CA: set --ca-file to that CA",
        ),
        (lambda known, folder: Certified(known, folder, days=-1), "its certificate has expired"),
        (lambda known, folder: Certified(known, folder, "elsewhere.example"), "its certificate is for other host names"),
    ],
    ids=["unknown CA", "expired", "another name"],
)
async def test_a_collector_that_is_not_trusted_gets_no_token(certified, sentence, tmp_path):
    known = Authority()
    (tmp_path / "token").write_text("secret-token")
    async with running_fake_collector(certified(known, tmp_path)) as server:
        access = Access(server.url, server.url, tmp_path / "token", known.file(tmp_path))
        async with Collector(access) as collector:
            with pytest.raises(CommandError, match=sentence) as caught:
                await collector.get(("v1", "pods"))
        assert str(caught.value).startswith(f"{server.url} is not trusted: ")
        assert server.requests == []


async def test_a_ca_file_is_read_again_when_it_changes(tmp_path):
    first, second = Authority(), Authority()
    file = first.file(tmp_path)
    async with running_fake_collector(Certified(second, tmp_path)) as server:
        server.answers["/v1/pods"] = {"pods": []}
        async with Collector(Access(server.url, server.url, None, file)) as collector:
            with pytest.raises(CommandError, match="unknown CA"):
                await collector.get(("v1", "pods"))
            second.file(tmp_path)
            await collector.get(("v1", "pods"))
            file.write_text("half of it")
            await collector.get(("v1", "pods"))
