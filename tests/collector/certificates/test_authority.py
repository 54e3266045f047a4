"""Which certificates are made, when they are renewed, and that OpenSSL and Python accept them."""

import ssl
import subprocess
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from collector.certificates.authority import Terms, renew

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
DAY = timedelta(days=1)
HOSTS = ("forks.example", "localhost", "127.0.0.1", "::1")
TERMS = Terms(90 * DAY, 365 * DAY)


def made(now=NOW, files=None, hosts=HOSTS):
    return renew(files or {}, {"collector": hosts}, now, TERMS)


def verified(files, now, folder, host="forks.example"):
    """What `openssl verify` says of the server's certificate with the CAs, as a client's host name check does."""
    for name, text in files.items():
        (folder / name).write_bytes(text)
    line = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-attime", str(int(now.timestamp()))]
    line += ["-verify_hostname", host, "-CAfile", str(folder / "ca.crt"), str(folder / "collector.crt")]
    done = subprocess.run(line, capture_output=True, text=True, timeout=30, check=False)
    return done.stdout.strip().endswith(": OK")


def certificates(files, name):
    return x509.load_pem_x509_certificates(files[name])


def test_openssl_accepts_what_was_made_and_no_other_name_or_ca(tmp_path):
    files = made().files
    assert verified(files, NOW, tmp_path)
    assert not verified(files, NOW, tmp_path, "other.example")
    assert not verified(files, NOW + 91 * DAY, tmp_path), "it has ended"
    assert not verified(files | {"ca.crt": made().files["ca.crt"]}, NOW, tmp_path), "another CA with the same name"


def test_a_key_belongs_to_each_certificate(tmp_path):
    for name, text in made().files.items():
        (tmp_path / name).write_bytes(text)
    for pair in ("ca", "collector"):
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tmp_path / f"{pair}.crt", tmp_path / f"{pair}.key")


def test_a_certificate_is_for_each_of_its_names():
    (certificate,) = certificates(made().files, "collector.crt")
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {str(name.value) for name in names} == set(HOSTS)
    assert isinstance(list(names)[2], x509.IPAddress)


def test_nothing_is_made_while_all_is_valid():
    first = made()
    again = made(NOW + 59 * DAY, first.files)
    assert (again.made, again.files) == ((), first.files)


def test_a_certificate_is_renewed_when_a_third_is_left_and_the_ca_stays(tmp_path):
    first = made()
    later = NOW + 61 * DAY
    again = made(later, first.files)
    assert [line.split()[0] for line in again.made] == ["collector.crt"]
    assert (again.files["ca.crt"], again.files["ca.key"]) == (first.files["ca.crt"], first.files["ca.key"])
    assert verified(again.files, later + 80 * DAY, tmp_path)


def test_a_ca_that_ends_is_followed_by_another_and_no_client_refuses_a_server_meanwhile(tmp_path):
    """Every step of a year and a half, once a day: clients with the CAs of the step before accept the server, and clients with
    the CAs of this step do."""
    before = files = made().files
    authorities = set()
    for day in range(1, 500):
        now = NOW + day * DAY
        before, files = files, made(now, files).files
        authorities.add(files["ca.key"])
        if files != before:
            assert verified(files, now, tmp_path), now
            assert verified({**files, "ca.crt": before["ca.crt"]}, now, tmp_path), now
            assert verified({**before, "ca.crt": files["ca.crt"]}, now, tmp_path), now
    assert len(authorities) == 2
    assert len(certificates(files, "ca.crt")) == 1, "the first CA has ended, and is trusted no more"


@pytest.mark.parametrize("lost", ["collector.key", "collector.crt"])
@pytest.mark.parametrize("how", [None, b"", b"broken", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_a_broken_certificate_or_key_is_made_anew_by_the_same_ca(lost, how, tmp_path):
    first = made().files
    files = {name: text for name, text in first.items() if name != lost} | ({lost: how} if how is not None else {})
    again = made(NOW, files)
    assert again.files["ca.key"] == first["ca.key"]
    assert verified(again.files, NOW, tmp_path)


def test_without_its_key_a_ca_stays_trusted_and_another_signs(tmp_path):
    first = made().files
    again = made(NOW + 2 * DAY, {name: text for name, text in first.items() if name != "ca.key"}).files
    assert len(certificates(again, "ca.crt")) == 2
    assert again["collector.crt"] == first["collector.crt"], "it is valid, and clients do not know the new CA yet"
    later = made(NOW + 3 * DAY, again).files
    assert later["collector.crt"] != first["collector.crt"]
    assert verified(later, NOW + 3 * DAY, tmp_path)


def test_other_names_make_another_certificate(tmp_path):
    again = made(NOW, made().files, hosts=("forks.example", "new.example"))
    assert verified(again.files, NOW, tmp_path, "new.example")
    assert [line.split()[0] for line in again.made] == ["collector.crt"]


def test_a_certificate_of_a_ca_that_no_client_trusts_is_replaced(tmp_path):
    stranger = made().files
    files = made().files | {"collector.crt": stranger["collector.crt"], "collector.key": stranger["collector.key"]}
    again = made(NOW, files)
    assert verified(again.files, NOW, tmp_path)
