"""A sender behind an HTTP proxy: CONNECT for https, the whole URL for http, credentials that are never shown."""

import select
import socket
import ssl
import threading
from base64 import b64encode

import pytest

from agent.sinks.delivery.connections import Destination, Timeouts
from tests.certificates import Authority
from tests.faults import Close, FaultProxy, Forward, Reset, Say
from tests.messages import fields_of, read_head

from .sender_scene import SenderScene, until

CREDENTIALS = "agent:hunter2%40home"  # encoded as in a URL
SHOWN = "Basic " + b64encode(b"agent:hunter2@home").decode()


class Proxy:
    """Tunnels CONNECT, and forwards requests with a whole URL. `wants`: Proxy-Authorization; `refuses`: with this status."""

    def __init__(self, tls=None):
        self.seen, self.wants, self.refuses = [], None, None
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = self._listener.getsockname()
        threading.Thread(target=self._accept, daemon=True).start()

    def url(self, credentials=""):
        return f"{'https' if self._tls else 'http'}://{credentials and credentials + '@'}127.0.0.1:{self.address[1]}"

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        try:
            with self._tls.wrap_socket(client, server_side=True) if self._tls else client as client:
                head = read_head(client.makefile("rb", buffering=0))
                first, headers = fields_of(head)
                method, target, _ = first.split(" ")
                self.seen.append((method, target, headers.get("proxy-authorization")))
                wrong = 407 if self.wants not in (None, headers.get("proxy-authorization")) else self.refuses
                if wrong:
                    client.sendall(b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % wrong)
                    return
                where = target if method == "CONNECT" else target.split("/")[2]
                with socket.create_connection(where.split(":")) as server:
                    client.sendall(b"HTTP/1.1 200 Connected\r\n\r\n") if method == "CONNECT" else server.sendall(head)
                    self._join(client, server)
        except (OSError, ValueError):
            pass  # the client closed the connection, or sent no valid request

    @staticmethod
    def _readable(pair):
        poll, by_number = select.poll(), {one.fileno(): one for one in pair}  # select() ends at 1,024 descriptors
        for number in by_number:
            poll.register(number, select.POLLIN)
        return [by_number[number] for number, _ in poll.poll()]

    def _join(self, *pair):
        while True:
            pending = [one for one in pair if isinstance(one, ssl.SSLSocket) and one.pending()]
            for one in pending or self._readable(pair):
                if not (data := one.recv(65536)):
                    return
                pair[one is pair[0]].sendall(data)


@pytest.fixture
def between():
    proxy = Proxy()
    yield proxy
    proxy.close()


@pytest.fixture(scope="module")
def authority():
    return Authority()


@pytest.fixture
def ca(authority, tmp_path):
    return authority.file(tmp_path)


@pytest.fixture
def secure(receiver, authority):
    """The receiver behind TLS."""
    with FaultProxy(receiver.address, tls=authority.server()) as front:
        yield front


def way_through(between, front, ca, credentials=""):
    scene = SenderScene(front.url("/v1/events"), timeouts=Timeouts(5, 2, 5), ca_file=ca, proxy=between.url(credentials))
    scene.put()
    return scene


async def test_https_goes_through_one_tunnel(receiver, between, secure, ca):
    scene = way_through(between, secure, ca)
    for _ in range(5):
        scene.put()
    await scene.ship()
    assert between.seen == [("CONNECT", f"127.0.0.1:{secure.address[1]}", None)]
    assert receiver.accepted == [*range(18)]


async def test_http_goes_through_the_proxy_with_the_whole_url(receiver, between):
    scene = SenderScene(receiver.url, proxy=between.url(CREDENTIALS))
    between.wants = SHOWN
    for _ in range(5):
        scene.put()
    await scene.ship()
    assert between.seen == [("POST", receiver.url, SHOWN)]
    assert receiver.accepted == [*range(15)]


async def test_the_proxys_credentials_are_sent_to_the_proxy_only(receiver, between, secure, ca):
    between.wants = SHOWN
    scene = way_through(between, secure, ca, CREDENTIALS)
    await scene.ship()
    assert between.seen == [("CONNECT", f"127.0.0.1:{secure.address[1]}", SHOWN)]
    assert "Proxy-Authorization" not in receiver.tries[0][1]


@pytest.mark.parametrize(
    ("status", "state"),
    [
        (403, "hold: the proxy {proxy} refuses to connect to {receiver}: 403"),
        (407, "hold: the proxy {proxy} rejects our credentials: 407"),
        (502, "retry: the proxy {proxy} refuses to connect to {receiver}: 502"),
        (503, "retry: the proxy {proxy} refuses to connect to {receiver}: 503"),
    ],
)
async def test_a_proxy_that_refuses_is_named_and_waited_for(receiver, between, secure, ca, caplog, status, state):
    caplog.set_level(1)
    between.refuses = status
    scene = way_through(between, secure, ca, CREDENTIALS)
    async with scene.running():
        await until(lambda: scene.sender.responses.get("proxy", 0) > 2)
        addresses = {"proxy": f"127.0.0.1:{between.address[1]}", "receiver": f"127.0.0.1:{secure.address[1]}"}
        assert scene.sender.state == state.format(**addresses)
        between.refuses = None
        await until(lambda: not len(scene.queue))
    assert receiver.accepted == [0, 1, 2]
    assert "hunter2" not in "".join([*(record.getMessage() for record in caplog.records), repr(scene.sender.responses)])


async def test_an_unreachable_proxy_is_named(secure, ca):
    scene = SenderScene(secure.url(), ca_file=ca, proxy=f"http://{CREDENTIALS}@127.0.0.1:1")
    scene.put()
    async with scene.running():
        await until(lambda: scene.sender.responses)
    assert scene.sender.state == "retry: the proxy 127.0.0.1:1 can't be reached: Connection refused"


async def test_a_receivers_certificate_is_checked_through_the_tunnel(receiver, between, secure, ca):
    secure.tls = Authority().server()
    scene = way_through(between, secure, ca)
    async with scene.running():
        await until(lambda: scene.sender.responses.get("tls"))
        assert scene.sender.state.startswith(f"hold: 127.0.0.1:{secure.address[1]} is not trusted: ")
    assert receiver.tries == []


async def test_faults_behind_the_proxy_are_handled_like_others(receiver, between, secure, ca):
    secure.play(Say(503), Reset("body"), Forward(), Reset("forwarded"), Forward(close=True), Close())
    scene = way_through(between, secure, ca)
    for _ in range(5):
        scene.put()
    await scene.ship()
    assert scene.queue.delivered == {7: 18}
    assert list(dict.fromkeys(receiver.accepted)) == [*range(18)]


@pytest.mark.parametrize("plain", [True, False])
async def test_a_proxy_can_use_tls(receiver, authority, secure, ca, plain):
    between = Proxy(authority.server())
    between.wants = SHOWN
    url = receiver.url if plain else secure.url("/v1/events")
    scene = SenderScene(url, ca_file=ca, proxy=between.url(CREDENTIALS))
    scene.put()
    scene.put()
    await scene.ship()
    between.close()
    assert [method for method, _, _ in between.seen] == ["POST" if plain else "CONNECT"]
    assert receiver.accepted == [*range(6)]


async def test_a_tls_proxys_certificate_is_checked(receiver, ca):
    between = Proxy(Authority().server())
    scene = SenderScene(receiver.url, ca_file=ca, proxy=between.url(CREDENTIALS))
    scene.put()
    async with scene.running():
        await until(lambda: scene.sender.responses.get("tls"))
        assert scene.sender.state.startswith(f"hold: 127.0.0.1:{between.address[1]} is not trusted: ")
    between.close()
    assert (between.seen, receiver.tries) == ([], [])


def test_the_repr_of_a_destination_has_no_secret():
    shown = repr(Destination("https://siem.example/secret-path", proxy=f"http://{CREDENTIALS}@proxy.example:3128"))
    assert "secret" not in shown
    assert "hunter2" not in shown
