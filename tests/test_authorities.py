"""Which CAs tests trust, and the commands that download for them."""

import os
import ssl
import subprocess
import sys

from tests.authorities import environment_of_machine, trust_none

COUNT = "import ssl; print(ssl.create_default_context().cert_store_stats()['x509_ca'])"


def test_a_test_trusts_none_of_the_machine_s():
    assert ssl.create_default_context().cert_store_stats()["x509_ca"] == 0


def test_a_process_that_a_test_starts_trusts_none_either():
    assert subprocess.run([sys.executable, "-c", COUNT], capture_output=True, check=True).stdout == b"0\n"


def test_a_command_that_downloads_trusts_those_that_the_machine_does(monkeypatch):
    for own in ({}, {"SSL_CERT_FILE": "/etc/ssl/own.pem"}):
        environment = {"PATH": "/bin", **own}
        with monkeypatch.context() as scene:
            scene.setattr(os, "environ", dict(environment))
            trust_none()
            trust_none()  # pytest-xdist's workers, too, and their environment is that of the process that started them
            assert os.environ["SSL_CERT_FILE"] == os.devnull
            assert environment_of_machine() == environment
