"""The proxy of the API's requests, by the rules of Go's net/http."""

import pytest

from agent.attribution.pods.proxies import proxy_for

PROXY = "http://proxy.example:3128"


@pytest.mark.parametrize(
    ("exceptions", "host", "used"),
    [
        ("", "10.96.0.1", True),
        ("10.96.0.0/12", "10.96.0.1", False),
        ("10.96.0.0/12", "10.112.0.1", True),
        ("10.96.0.7/12", "10.96.0.1", False),
        ("fd00::/8", "[fd00::1]", False),
        ("10.96.0.1", "10.96.0.1", False),
        ("10.96.0.1:443", "10.96.0.1", True),  # the URL has port 6443
        ("10.96.0.1:6443", "10.96.0.1", False),
        ("[fd00::1]:6443", "[fd00::1]", False),
        ("example.com", "api.example.com", False),
        ("example.com", "example.com", False),
        ("example.com", "badexample.com", True),
        (".example.com", "api.example.com", False),
        (".example.com", "example.com", True),
        ("*.example.com", "api.example.com", False),
        ("api.example.com:6443", "api.example.com", False),
        ("api.example.com:443", "api.example.com", True),
        (" other.example , EXAMPLE.com ", "api.example.com", False),
        ("*", "api.example.com", False),
        ("10.0.0.0/99, nonsense/8, [, :,", "10.0.0.1", True),
        ("", "localhost", False),
        ("", "127.0.0.9", False),
        ("", "[::1]", False),
    ],
)
def test_a_host_is_excepted_as_go_has_it(exceptions, host, used):
    found = proxy_for(f"https://{host}:6443", {"HTTPS_PROXY": PROXY, "NO_PROXY": exceptions})
    assert found == (PROXY if used else None)


def test_the_variable_of_the_urls_scheme_is_used_in_upper_case_first():
    assert proxy_for("https://api:6443", {"https_proxy": "p:1", "HTTP_PROXY": PROXY}) == "http://p:1"
    assert proxy_for("https://api:6443", {"https_proxy": "p:1", "HTTPS_PROXY": PROXY}) == PROXY
    assert proxy_for("http://api:6443", {"HTTPS_PROXY": PROXY}) is None
    assert proxy_for("https://api:6443", {"HTTPS_PROXY": PROXY, "no_proxy": "api"}) is None
    assert proxy_for("https://api:6443", {}) is None
