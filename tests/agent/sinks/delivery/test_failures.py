"""Descriptions of all errors that a request can raise, without the secret parts of a URL."""

import inspect
import socket
import ssl

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey
from yarl import URL

from agent.sinks.delivery.credentials import FileError
from agent.sinks.delivery.failures import describe_failure

SECRET = "http://user:hunter2@siem.example:8088/hunter2?token=hunter2"
KEY = ConnectionKey("siem.example", 8088, False, True, URL("http://user:hunter2@proxy:1"), None, None)
INFO = aiohttp.RequestInfo(URL(SECRET), "POST", aiohttp.client_reqrep.CIMultiDictProxy(aiohttp.client_reqrep.CIMultiDict()))


def words(error):
    return describe_failure(error, "siem.example:8088", "proxy.example:3128")


ERRORS = [
    aiohttp.InvalidURL(SECRET),
    aiohttp.NonHttpUrlClientError(SECRET),
    aiohttp.ConnectionTimeoutError(f"Connection timeout to host {SECRET}"),
    aiohttp.ServerDisconnectedError(SECRET),
    aiohttp.ClientOSError(104, f"Can not write request body for {SECRET}"),
    aiohttp.ClientOSError(None, f"Can not write request body for {SECRET}"),
    aiohttp.ClientConnectionResetError(f"Cannot write to closing transport {SECRET}"),
    aiohttp.ClientConnectionError(f"Failed to send bytes into the underlying connection {SECRET}"),
    aiohttp.ClientPayloadError(SECRET),
    aiohttp.ClientResponseError(INFO, (), status=400, message=SECRET),
    aiohttp.ClientHttpProxyError(INFO, (), status=407, message=SECRET),
    aiohttp.ClientConnectorError(KEY, OSError(111, f"Connect call failed {SECRET}")),
    aiohttp.ClientConnectorError(KEY, OSError(f"Multiple exceptions: {SECRET}")),
    aiohttp.ClientProxyConnectionError(KEY, OSError(111, f"Connect call failed {SECRET}")),
    aiohttp.ClientConnectorDNSError(KEY, socket.gaierror(-2, "Name or service not known")),
    aiohttp.ClientConnectorSSLError(KEY, ssl.SSLError(1, SECRET)),
    aiohttp.ServerFingerprintMismatch(b"", b"", SECRET, 1),
    aiohttp.TooManyRedirects(INFO, (), status=302, message=SECRET),
    TimeoutError(SECRET),
    ConnectionResetError(104, SECRET),
    OSError(SECRET),
    ValueError(SECRET),
    UnicodeError(SECRET),
    ssl.SSLError(1, "[SSL: TLSV1_ALERT_INTERNAL_ERROR] tlsv1 alert internal error"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_every_error_is_described_in_one_line_with_the_receiver_and_no_secret(error):
    kind, text, _ = words(error)
    assert kind.replace("_", "").isalpha()
    assert text.isprintable()
    assert "siem.example" in text or "proxy.example:3128" in text
    assert "hunter2" not in f"{kind} {text}"


def test_every_class_of_aiohttps_errors_is_covered():
    """Those that a POST without redirections can raise. A class of a new version needs a decision."""
    there = {name for name, one in inspect.getmembers(aiohttp, inspect.isclass) if issubclass(one, aiohttp.ClientError)}
    known = {base.__name__ for error in ERRORS for base in type(error).__mro__}
    never = {
        "ClientConnectorCertificateError",  # in the tests of TLS, with real certificates
        "ContentTypeError", "WSServerHandshakeError", "WebSocketError", "UnixClientConnectorError",
        "InvalidUrlClientError", "InvalidUrlRedirectClientError", "NonHttpUrlRedirectClientError", "RedirectClientError",
        "SocketTimeoutError", "UploadAbortedError",
    }  # fmt: skip
    assert there - known <= never


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", "it requires a client certificate: set cert_file and key_file"),
        ("TLSV1_ALERT_UNKNOWN_CA", "it does not know the CA of our client certificate"),
        ("SSLV3_ALERT_BAD_CERTIFICATE", "it rejects our client certificate"),
        ("TLSV1_ALERT_PROTOCOL_VERSION", "it supports no TLS version from 1.2 on"),
        ("WRONG_VERSION_NUMBER", "it does not use TLS on this port: should the url be http://?"),
    ],
)
def test_an_openssl_error_is_described_and_held(reason, message):
    cause = ssl.SSLError(1, f"[SSL: {reason}]")
    cause.reason = reason
    error = aiohttp.ClientOSError(1, "...")
    error.__cause__ = cause
    assert words(error) == ("tls", f"siem.example:8088: TLS: {message}", True)


def test_an_unknown_openssl_error_is_retried():
    cause = ssl.SSLError(1, "...")
    cause.reason = "DECRYPTION_FAILED_OR_BAD_RECORD_MAC"
    assert words(cause) == ("tls", "siem.example:8088: TLS: decryption failed or bad record mac", False)


def test_a_file_error_keeps_its_text():
    assert words(FileError("ca_file /x: is not a file")) == ("files", "ca_file /x: is not a file", True)
