"""A sender with TLS, client certificates and tokens, each in files that are replaced while it runs."""

import os
import ssl
from base64 import b64encode
from pathlib import Path

import pytest
from aiohttp import web
from cryptography.hazmat.primitives import serialization

from agent.sinks.delivery.connections import Timeouts
from tests.certificates import Authority
from tests.faults import FaultProxy, Forward, Garbage, Reset, Say
from wire.http.certificate import ServerCertificate
from wire.http.connections import Bounds
from wire.http.server import BoundedRunner

from .sender_scene import SenderScene, until

QUICK = Timeouts(connect=5.0, idle=0.5, response=2.0)


@pytest.fixture(scope="module")
def authority():
    return Authority()


@pytest.fixture(scope="module")
def agents():
    """The CA of the agents' certificates."""
    return Authority()


@pytest.fixture
def ca(authority, tmp_path):
    return authority.file(tmp_path)


def scene_of(proxy, **destination):
    scene = SenderScene(proxy.url("/v1/events"), timeouts=QUICK, **destination)
    scene.put()
    return scene


async def stuck(scene, state):
    """Waits for this state, and checks that it lasts."""
    await until(lambda: scene.sender.state == state or scene.sender.tries > 200)
    assert scene.sender.state == state
    tries = scene.sender.tries
    await until(lambda: scene.sender.tries > tries + 1)
    assert scene.sender.state == state
    assert scene.queue.completed == 0


async def test_batches_go_over_tls_and_one_connection(receiver, authority, ca):
    with FaultProxy(receiver.address, tls=authority.server()) as proxy:
        scene = scene_of(proxy, ca_file=ca)
        for _ in range(9):
            scene.put()
        await scene.ship()
        assert proxy.connections == 1
    assert receiver.accepted == [*range(30)]


async def test_without_a_ca_file_the_systems_cas_are_used(receiver, authority):
    with FaultProxy(receiver.address, tls=authority.server()) as proxy:
        scene = scene_of(proxy)
        async with scene.running():
            await until(lambda: scene.sender.responses.get("tls"))
    assert "is from an unknown CA: set ca_file to that CA" in scene.sender.state
    assert receiver.tries == []


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda known: Authority().server(), "its certificate is from an unknown CA: set ca_file to that CA"),
        (lambda known: known.server(days=-1), "its certificate has expired"),
        (lambda known: known.server("elsewhere.example"), "its certificate is for other host names"),
    ],
    ids=["unknown CA", "expired", "another name"],
)
async def test_an_untrusted_receiver_gets_nothing(receiver, authority, ca, make, words):
    with FaultProxy(receiver.address, tls=make(authority)) as proxy:
        scene = scene_of(proxy, ca_file=ca)
        async with scene.running():
            await stuck(scene, f"hold: 127.0.0.1:{proxy.address[1]} is not trusted: {words}")
            assert scene.sender.responses.keys() == {"tls"}
            assert (receiver.tries, proxy.requests) == ([], [])
            assert scene.sender.untrusted.endswith(words)
            proxy.tls = authority.server()
            await until(lambda: not len(scene.queue))
            assert scene.sender.untrusted is None
    assert scene.queue.delivered == {7: 3}


async def test_a_receiver_without_tls_at_an_https_url_is_named(receiver, ca):
    scene = SenderScene(receiver.url.replace("http:", "https:"), ca_file=ca)
    scene.put()
    async with scene.running():
        await stuck(
            scene, f"hold: 127.0.0.1:{receiver.address[1]}: TLS: it does not use TLS on this port: should the url be http://?"
        )
    assert receiver.tries == []


async def test_a_tls_receiver_at_an_http_url_is_named(receiver):
    with FaultProxy(receiver.address) as proxy:
        proxy.usual = Garbage(b"\x15\x03\x01\x00\x02\x02\x0a")  # the alert unexpected_message; other servers reset
        scene = scene_of(proxy)
        async with scene.running():
            await until(lambda: scene.sender.responses)
    assert scene.sender.state.endswith("sent something that is not HTTP: should the url be https://?")


async def test_an_http_url_at_a_collector_that_speaks_tls_by_now_loses_nothing(authority, tmp_path):
    """As during an upgrade: the batch waits until the url is https://."""
    runner = BoundedRunner(
        web.Application(),
        Bounds(connections=8, anonymous=8, per_address=8, per_credential=8),
        ServerCertificate(*authority.server_files(tmp_path)),
    )
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        scene = SenderScene(f"http://127.0.0.1:{runner.addresses[0][1]}/v1/events", timeouts=QUICK)
        scene.put()
        async with scene.running():
            await until(lambda: scene.sender.tries > 2)
            assert (scene.queue.completed, len(scene.queue), scene.queue.lost) == (0, 1, {})
    finally:
        await runner.cleanup()


async def test_a_client_certificate_is_sent_on_request(receiver, authority, agents, ca, tmp_path):
    certificate, key = agents.client(tmp_path)
    with FaultProxy(receiver.address, tls=authority.server(wants=agents)) as proxy:
        scene = scene_of(proxy, ca_file=ca, cert_file=certificate, key_file=key)
        await scene.ship()
        assert proxy.failed_handshakes == []
    assert scene.queue.delivered == {7: 3}


async def test_certificate_and_key_can_be_one_file(receiver, authority, agents, ca, tmp_path):
    certificate, key = agents.client(tmp_path)
    certificate.write_bytes(certificate.read_bytes() + key.read_bytes())
    with FaultProxy(receiver.address, tls=authority.server(wants=agents)) as proxy:
        scene = scene_of(proxy, ca_file=ca, cert_file=certificate)
        await scene.ship()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
@pytest.mark.parametrize(
    ("shown", "words"),
    [
        (None, "require"),
        (lambda agents, folder: Authority().client(folder), "it does not know the CA of our client certificate"),
        (lambda agents, folder: agents.client(folder, days=-1), "our client certificate has expired"),
    ],
    ids=["none", "unknown CA", "expired"],
)
async def test_a_rejected_client_certificate_is_named(receiver, authority, agents, ca, tmp_path, version, shown, words):
    """In TLS 1.3 the handshake ends before the receiver rejects, and its reset may arrive before the alert."""
    files = dict(zip(("cert_file", "key_file"), shown(agents, tmp_path), strict=True)) if shown else {}
    with FaultProxy(receiver.address, tls=authority.server(wants=agents)) as proxy:
        proxy.tls.maximum_version = version
        scene = scene_of(proxy, ca_file=ca, **files)
        async with scene.running():
            await until(lambda: scene.sender.state.startswith("hold:") and words in scene.sender.state)
            assert "certificate" in scene.sender.state
            assert receiver.tries == []
            proxy.tls = authority.server()
            await until(lambda: not len(scene.queue))
    assert scene.queue.delivered == {7: 3}


def replace_as_kubernetes_does(folder, files):
    """`..data` is moved to a new folder in one step; the mounted files are links through it."""
    made = folder / f"..{len(list(folder.iterdir()))}"
    made.mkdir()
    for name, content in files.items():
        (made / name).write_bytes(content)
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(Path("..data") / name)
    (folder / "..new").symlink_to(made.name)
    (folder / "..new").rename(folder / "..data")


async def test_a_replaced_client_certificate_is_used_without_a_restart(receiver, authority, agents, ca, tmp_path):
    folder, scratch, others = tmp_path / "secret", tmp_path / "scratch", Authority()
    folder.mkdir()
    scratch.mkdir()

    def put_in_place(signer):
        certificate, key = signer.client(scratch)
        replace_as_kubernetes_does(folder, {"tls.crt": certificate.read_bytes(), "tls.key": key.read_bytes()})

    put_in_place(agents)
    with FaultProxy(receiver.address, tls=authority.server(wants=agents)) as proxy:
        scene = scene_of(proxy, ca_file=ca, cert_file=folder / "tls.crt", key_file=folder / "tls.key")
        async with scene.running():
            await until(lambda: not len(scene.queue))
            proxy.tls = authority.server(wants=others)
            put_in_place(others)  # while the connection with the old one is still open
            scene.put()
            await until(lambda: not len(scene.queue))
            assert (proxy.connections, proxy.failed_handshakes) == (2, [])
            scene.put()
            await until(lambda: not len(scene.queue))
            assert proxy.connections == 2
    assert scene.sender.responses == {"200": 3}


async def test_a_replaced_ca_file_is_used_without_a_restart(receiver, authority, tmp_path):
    """With pauses of half a minute, which end when a file is replaced."""
    wrong = Authority().file(tmp_path, "wrong.pem")
    with FaultProxy(receiver.address, tls=authority.server()) as proxy:
        scene = scene_of(proxy, ca_file=wrong)
        async with scene.running(pause_s=30):
            await until(lambda: scene.sender.responses.get("tls"))
            authority.file(tmp_path, "wrong.pem")
            await until(lambda: not len(scene.queue), seconds=5)
    assert scene.sender.tries == 2


def encrypted(key):
    loaded = serialization.load_pem_private_key(key.read_bytes(), None)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"secret"))
    return loaded.private_bytes(*form)


PAIR = "cert_file {cert}, key_file {key}: "
UNREADABLE = PAIR + "do not hold a certificate and its key that can be read (PEM, without a password)"


@pytest.mark.parametrize(
    ("which", "spoil", "state"),
    [
        ("ca", Path.unlink, "ca_file {ca}: No such file or directory"),
        ("ca", lambda file: file.write_bytes(b""), "ca_file {ca}: holds no certificate that can be read (PEM)"),
        ("ca", lambda file: file.write_bytes(os.urandom(999)), "ca_file {ca}: holds no certificate that can be read (PEM)"),
        ("ca", lambda file: (file.unlink(), file.mkdir()), "ca_file {ca}: is not a file"),
        ("ca", lambda file: (file.unlink(), os.mkfifo(file)), "ca_file {ca}: is not a file"),
        ("cert", Path.unlink, "cert_file {cert}: No such file or directory"),
        (
            "cert",
            lambda file: file.write_bytes(b"-----BEGIN CERTIFICATE-----"),
            UNREADABLE,
        ),
        ("key", lambda file: file.write_bytes(b"\x00"), UNREADABLE),
        ("key", lambda file: (file.unlink(), os.mkfifo(file)), "key_file {key}: is not a file"),
        ("key", lambda file: file.write_bytes(encrypted(file)), UNREADABLE),
        (
            "key",
            lambda file: file.write_bytes(Authority().client(file.parent, "other")[1].read_bytes()),
            PAIR + "the key does not belong to the certificate",
        ),
    ],
)
async def test_a_wrong_file_is_described_in_one_line_until_it_is_right(
    receiver, authority, agents, tmp_path, which, spoil, state
):
    certificate, key = agents.client(tmp_path)
    files = {"ca": authority.file(tmp_path), "cert": certificate, "key": key}
    right = files[which].read_bytes()
    spoil(files[which])
    with FaultProxy(receiver.address, tls=authority.server(wants=agents)) as proxy:
        scene = scene_of(proxy, ca_file=files["ca"], cert_file=certificate, key_file=key)
        async with scene.running():
            await stuck(scene, f"hold: {state.format(**files)}")
            assert scene.sender.responses.keys() == {"files"}
            assert proxy.connections == 0
            other = tmp_path / "right"
            other.write_bytes(right)
            if files[which].is_dir():
                files[which].rmdir()
            other.replace(files[which])
            await until(lambda: not len(scene.queue))
    assert scene.queue.delivered == {7: 3}


async def test_a_file_that_becomes_wrong_holds_the_next_batch(receiver, authority, ca):
    with FaultProxy(receiver.address, tls=authority.server()) as proxy:
        scene = scene_of(proxy, ca_file=ca)
        async with scene.running():
            await until(lambda: not len(scene.queue))
            right = ca.read_bytes()
            ca.write_bytes(b"oops")
            scene.put()
            await stuck_again(scene, f"hold: ca_file {ca}: holds no certificate that can be read (PEM)")
            ca.write_bytes(right)
            await until(lambda: not len(scene.queue))
    assert receiver.accepted == [*range(6)]


async def stuck_again(scene, state):
    await until(lambda: scene.sender.responses.get("files", 0) > 2)
    assert scene.sender.state == state


async def test_faults_below_tls_are_handled_like_others(receiver, authority, ca):
    with FaultProxy(receiver.address, tls=authority.server()) as proxy:
        proxy.play(Say(503), Reset("body"), Forward(), Reset("forwarded"), Forward(close=True))
        scene = scene_of(proxy, ca_file=ca)
        for _ in range(3):
            scene.put()
        await scene.ship()
    assert scene.queue.delivered == {7: 12}
    assert list(dict.fromkeys(receiver.accepted)) == [*range(12)]


async def test_a_replaced_token_is_used_by_the_next_try(receiver, tmp_path):
    """With pauses of half a minute, which end when a file is replaced."""
    token = tmp_path / "token"
    token.write_text("old\n")
    scene = SenderScene(receiver.url, token_file=token)
    receiver.answers = [401, 401, 200]
    scene.put()
    async with scene.running(pause_s=30):
        await until(lambda: "401" in scene.sender.responses)
        token.write_text("newer")
        await until(lambda: scene.sender.responses["401"] == 2, seconds=5)
        token.write_text("newest")
        await until(lambda: not len(scene.queue), seconds=5)
    assert [headers["Authorization"] for _, headers, _ in receiver.tries] == ["Bearer old", "Bearer newer", "Bearer newest"]


async def test_a_held_batch_is_not_sent_again_at_once(receiver, tmp_path):
    (tmp_path / "token").write_text("wrong")
    scene = SenderScene(receiver.url, token_file=tmp_path / "token")
    receiver.usual = 401
    scene.put()
    async with scene.running(pause_s=30):
        await until(lambda: "401" in scene.sender.responses)
        with pytest.raises(TimeoutError):
            await until(lambda: len(receiver.tries) > 1, seconds=2.5)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda file: None, "No such file or directory"),
        (lambda file: file.write_bytes(b" \n"), "the token file is empty"),
        (lambda file: file.write_bytes(b"two\nlines"), "the token file has more than one line, or unprintable characters"),
        (lambda file: file.write_bytes(b"to\x00ken"), "the token file has more than one line, or unprintable characters"),
        (lambda file: file.write_bytes(b"\xff\xfe"), "is not UTF-8 text"),
        (lambda file: file.write_bytes(b"x" * 100_000), "is too long for a token"),
        (Path.mkdir, "is not a file"),
        (os.mkfifo, "is not a file"),
        (lambda file: file.symlink_to("/dev/zero"), "is not a file"),
    ],
)
async def test_an_invalid_token_is_named_and_nothing_is_sent(receiver, tmp_path, spoil, words):
    token = tmp_path / "token"
    spoil(token)
    scene = SenderScene(receiver.url, token_file=token)
    scene.put()
    async with scene.running():
        await stuck(scene, f"hold: token_file {token}: {words}")
        assert scene.sender.responses.keys() == {"files"}
        assert receiver.tries == []
        (tmp_path / "right").write_text("good")
        if token.is_dir():
            token.rmdir()
        (tmp_path / "right").replace(token)
        await until(lambda: not len(scene.queue))
    assert receiver.tries[0][1]["Authorization"] == "Bearer good"


@pytest.mark.parametrize("status", [200, 400, 401, 413, 500])
async def test_a_token_that_the_receiver_repeats_is_not_shown(receiver, tmp_path, caplog, status):
    caplog.set_level(1)
    (tmp_path / "token").write_text("forklore:hunter2-hunter2\n")
    scene = SenderScene(receiver.url, token_file=tmp_path / "token", auth="basic")

    async def parrot(request):
        return web.Response(status=status, text=f"forklore:hunter2-hunter2 is not {request.headers['Authorization']}")

    receiver.answers = [parrot]
    scene.put(1)
    states = []
    async with scene.running():
        await until(lambda: states.append(scene.sender.state) or not len(scene.queue))
        states.append(scene.sender.state)
    shown = "".join([*states, repr(scene.sender.responses), *(record.getMessage() for record in caplog.records)])
    assert "[secret]" in shown
    assert "hunter2" not in shown
    assert b64encode(b"forklore:hunter2-hunter2").decode() not in shown
