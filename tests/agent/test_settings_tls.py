"""The settings of a sink's connection: TLS files, proxy, and credentials that are never shown."""

import pytest

from agent.settings import SettingsError, load


@pytest.fixture
def sink(tmp_path, monkeypatch):
    monkeypatch.setenv("NODE_NAME", "node1")

    def read(fields):
        file = tmp_path / "agent.yaml"
        file.write_text(f"sinks: [{{name: siem, {fields}}}]")
        return load(file).sinks[0]

    return read


@pytest.fixture
def complaint(sink):
    def read(fields):
        with pytest.raises(SettingsError) as caught:
            sink(fields)
        (line,) = caught.value.lines
        return line

    return read


def test_tls_settings_have_no_defaults(sink):
    plain = sink("url: 'https://siem.example/x'")
    assert (plain.proxy, plain.ca_file, plain.cert_file, plain.key_file) == (None, None, None, None)


@pytest.mark.parametrize(
    "fields",
    [
        "url: 'https://siem.example/x', ca_file: /ca, cert_file: /c, key_file: /k, proxy: 'http://u:p@proxy.example:3128'",
        "url: 'https://siem.example/x', cert_file: /both",
        "url: 'http://siem.example/x', proxy: 'https://proxy.example:3129/', ca_file: /ca",
        "url: 'http://siem.example/x', proxy: 'http://[::1]:3128'",
        "url: 'https://siem.example/a@b'",
    ],
)
def test_valid_combinations_are_accepted(sink, fields):
    assert sink(fields).name == "siem"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ("url: 'http://siem.example/x', ca_file: /ca", "sinks.0.ca_file = '/ca': goes with an https:// url only"),
        ("url: 'http://siem.example/x', proxy: 'http://p:1', cert_file: /c", "sinks.0.cert_file = '/c': goes with an https://"),
        ("url: 'https://siem.example/x', key_file: /k", "sinks.0.key_file = '/k': is the key of a cert_file: give that, too"),
        ("url: 'https://siem.example/x', proxy: proxy.example", "sinks.0.proxy = 'proxy.example': give http://host:port"),
        ("url: 'https://siem.example/x', proxy: 'http://proxy'", "give http://host:port"),
        ("url: 'https://siem.example/x', proxy: 'http://proxy:99999'", "give http://host:port"),
        ("url: 'https://siem.example/x', proxy: 'http://[proxy:1'", "give http://host:port"),
        ("url: 'https://siem.example/x', proxy: 'http://proxy:1/path'", "give http://host:port"),
        ("url: 'https://siem.example/x', proxy: 'socks5://proxy:1080'", "give http://host:port"),
        ("url: 'https://siem.example/x', proxy: environment", "give http://host:port"),
        ("url: 'https://user@siem.example/x'", "sinks.0.url = 'https://...@siem.example/x': leave user and password out"),
    ],
)
def test_invalid_combinations_are_refused_with_what_is_valid(complaint, fields, words):
    assert words in complaint(fields)


@pytest.mark.parametrize(
    "fields",
    [
        "url: 'https://user:hunter2@siem.example/x'",
        "url: 'https://user:hunter2@ siem.example/x'",
        "url: 'ftp://user:hunter2@siem.example/x'",
        "url: 'https://siem.example/x', proxy: 'socks5://user:hunter2@proxy:1080'",
        "url: 'https://siem.example/x', proxy: 'http://us@er:hunter2@proxy:0'",
    ],
)
def test_a_password_is_never_shown_not_even_in_a_complaint(complaint, fields):
    assert "hunter2" not in complaint(fields)


def test_a_password_is_not_in_the_repr_of_the_settings(sink):
    assert "hunter2" not in repr(sink("url: 'https://siem.example/x', proxy: 'http://u:hunter2@proxy:1'"))
