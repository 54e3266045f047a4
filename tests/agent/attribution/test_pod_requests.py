"""Certificates and proxies of the API's requests, against real TLS servers."""

import asyncio
import datetime
import ipaddress
import json
import ssl
from base64 import b64encode
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from kubernetes.aio.config import incluster_config

from agent.attribution.pods.access import try_access

NOW = datetime.datetime.now(datetime.UTC)


def issued(owner, key, issuer, issuer_key, extension):
    name, by = (x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, one)]) for one in (owner, issuer))
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(by).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).add_extension(extension, critical=True)
    builder = builder.not_valid_before(NOW - datetime.timedelta(days=1)).not_valid_after(NOW + datetime.timedelta(days=1))
    return builder.sign(issuer_key, hashes.SHA256())


@pytest.fixture
def cluster_ca(tmp_path):
    """A CA without keyUsage and key identifiers, as EKS and others have it; returns its PEM and a server's context."""
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca = issued("kubernetes", ca_key, "kubernetes", ca_key, x509.BasicConstraints(ca=True, path_length=None))
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = issued("kube-apiserver", key, "kubernetes", ca_key, names)
    pem = serialization.Encoding.PEM
    plain = (pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (tmp_path / "server.pem").write_bytes(certificate.public_bytes(pem) + key.private_bytes(*plain))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    return ca.public_bytes(pem), context


@asynccontextmanager
async def api_server(folder, ca, context, **cluster):
    """Yields the path of its kubeconfig."""

    async def pods(_request):
        return web.json_response({"kind": "PodList", "metadata": {"resourceVersion": "1"}, "items": []})

    application = web.Application()
    application.router.add_get("/{any:.*}", pods)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    server = {"server": f"https://127.0.0.1:{runner.addresses[0][1]}", "certificate-authority-data": b64encode(ca).decode()}
    named = {"name": "x", "cluster": server | cluster, "user": {}, "context": {"cluster": "x", "user": "x"}}
    path = folder / "kubeconfig"
    path.write_text(json.dumps({"current-context": "x", "clusters": [named], "users": [named], "contexts": [named]}))
    try:
        yield path
    finally:
        await runner.cleanup()


@pytest.fixture
def strict_by_default(monkeypatch):
    """As Python 3.13 has it."""
    make = ssl.create_default_context

    def strict(*given, **named):
        context = make(*given, **named)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    monkeypatch.setattr(ssl, "create_default_context", strict)


@pytest.mark.usefixtures("strict_by_default")
async def test_a_cluster_ca_without_key_usage_is_accepted_as_kubectl_does(tmp_path, cluster_ca):
    async with api_server(tmp_path, *cluster_ca) as kubeconfig:
        assert (await try_access("node1", kubeconfig)).statuses["list"] == 200


@pytest.mark.usefixtures("strict_by_default")
async def test_by_setting_it_is_refused_with_the_whole_reason(tmp_path, cluster_ca):
    async with api_server(tmp_path, *cluster_ca) as kubeconfig:
        access = await try_access("node1", kubeconfig, strict_x509=True)
    assert access.statuses == {}
    assert access.error == "its certificate is not trusted: Missing Authority Key Identifier"


async def test_a_certificate_of_another_ca_is_refused(tmp_path, cluster_ca):
    other = issued(
        "kubernetes", key := ec.generate_private_key(ec.SECP256R1()), "kubernetes", key, x509.BasicConstraints(True, None)
    )
    async with api_server(tmp_path, other.public_bytes(serialization.Encoding.PEM), cluster_ca[1]) as kubeconfig:
        assert (await try_access("node1", kubeconfig)).error.startswith("its certificate is not trusted: ")


async def test_an_error_names_the_proxy_of_the_environment(tmp_path, cluster_ca, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://user:secret@127.0.0.1:1")
    async with api_server(tmp_path, *cluster_ca) as kubeconfig:
        assert (await try_access("node1", kubeconfig)).statuses["list"] == 200  # loopback has no proxy
        kubeconfig.write_text(kubeconfig.read_text().replace("127.0.0.1", "10.255.255.1"))
        access = await try_access("node1", kubeconfig)
        assert access.error.endswith(", through the proxy 127.0.0.1:1")
        assert "secret" not in access.error


async def test_a_kubeconfigs_own_proxy_is_used_whatever_the_environment_says(tmp_path, cluster_ca, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    async with api_server(tmp_path, *cluster_ca, **{"proxy-url": "http://127.0.0.1:1"}) as kubeconfig:
        assert (await try_access("node1", kubeconfig)).error.endswith(", through the proxy 127.0.0.1:1")


async def test_in_a_cluster_no_proxy_is_used(tmp_path, cluster_ca, monkeypatch):
    reached = asyncio.Event()

    async def proxy(_reader, writer):
        reached.set()
        writer.close()

    server = await asyncio.start_server(proxy, "127.0.0.1", 0)
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    (tmp_path / "token").write_text("a token")
    (tmp_path / "ca").write_bytes(cluster_ca[0])
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(tmp_path / "ca"))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "192.0.2.1")  # documentation only: there is no such host
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    monkeypatch.setattr("agent.attribution.pods.access._REQUEST_S", 0.3)
    access = await try_access("node1", None)
    assert access.error
    assert "proxy" not in access.error
    assert not reached.is_set()
    server.close()
