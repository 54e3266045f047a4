"""The CAs that this machine trusts. No test needs them: each of its servers has a CA of its own, or speaks plain HTTP.

OpenSSL parses all of them, about 150, for each TLS context without a `cafile`: 30 ms of CPU. aiohttp makes two when it is
imported, so that each process that a test starts takes 60 ms longer, and each connection to a Kubernetes API 30.
"""

from __future__ import annotations

import os

__all__ = ["environment_of_machine", "trust_none"]

_OWN, _KEPT = "SSL_CERT_FILE", "TESTS_SSL_CERT_FILE"  # the latter: what the former was before, for this process and those below


def trust_none() -> None:
    """Of this process, and of all that it starts: their CAs are in an empty file. Before `aiohttp` is imported."""
    os.environ.setdefault(_KEPT, os.environ.get(_OWN, ""))
    os.environ[_OWN] = os.devnull


def environment_of_machine() -> dict[str, str]:
    """The environment of a command that downloads: with the machine's CAs."""
    environment = dict(os.environ)
    own = environment.pop(_KEPT, "")
    del environment[_OWN]
    return environment | ({_OWN: own} if own else {})
