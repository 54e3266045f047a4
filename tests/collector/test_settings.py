"""The collector's settings: mistakes are reported with their value and with what is valid."""

import pytest

from collector.settings import Settings, WrongSettings, load


@pytest.fixture
def config(tmp_path):
    def write(text):
        file = tmp_path / "collector.yaml"
        file.write_text(text)
        return file

    return write


def mistakes(path):
    with pytest.raises(WrongSettings) as wrong:
        load(path)
    assert all("\n" not in line for line in wrong.value.mistakes)
    return wrong.value.mistakes


def test_the_defaults_are_usable():
    settings = load(None)
    assert (settings.listen, settings.retention, settings.max_body) == ("127.0.0.1:9910", 7 * 86400, 16 * 2**20)


def test_sizes_and_durations_have_units(config):
    settings = load(config("max_body: 512Ki\nmax_batch: 1000\nretention: 36h\nbody_timeout: 1.5s\nstore: 'memory:'\n"))
    assert (settings.max_body, settings.max_batch, settings.retention, settings.body_timeout) == (
        512 * 1024,
        1000,
        36 * 3600,
        1.5,
    )


def test_the_environment_overrides_the_file(config, monkeypatch):
    monkeypatch.setenv("FORKLORE_COLLECTOR_LISTEN", "127.0.0.1:1")
    assert load(config("listen: 127.0.0.1:2\nretention: 1d")).listen == "127.0.0.1:1"


def test_the_variables_of_a_kubernetes_service_are_no_settings(monkeypatch):
    for name in ("SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTP", "PORT", "PORT_9910_TCP", "PORT_9910_TCP_ADDR"):
        monkeypatch.setenv(f"FORKLORE_COLLECTOR_{name}", "tcp://10.0.0.1:9910")
    load(None)


def test_a_stray_variable_is_a_mistake(monkeypatch):
    monkeypatch.setenv("FORKLORE_COLLECTOR_LISTN", "x")
    (line,) = mistakes(None)
    assert line.startswith("FORKLORE_COLLECTOR_LISTN=x: is no setting; there are FORKLORE_COLLECTOR_LISTEN")


@pytest.mark.parametrize(
    ("text", "key", "value", "right"),
    [
        ("listen: 9910", "listen", "9910", "string"),
        ("listen: '0.0.0.0'", "listen", "0.0.0.0", "0.0.0.0:9910"),
        ("listen: '::1:9910'", "listen", "::1:9910", "[::]:9910"),
        ("listen: 0.0.0.0:99999", "listen", "0.0.0.0:99999", "65535"),
        ("store: postgres://x", "store", "postgres://x", "chdb:///absolute/path, https://user@host:8443/database and memory:"),
        ("store: chdb://relative", "store", "chdb://relative", "chdb:///absolute/path"),
        ("store: https:///nowhere", "store", "https:///nowhere", "https://user@host:8443/database"),
        ("store_password_file: /no/such", "store_password_file", "/no/such", "a readable file with the password"),
        ("retention: 7", "retention", "7", "7d"),
        ("retention: a week", "retention", "a week", "7d"),
        ("retention: 0s", "retention", "0s", "greater than 0"),
        ("max_body: 16MB", "max_body", "16MB", "16Mi"),
        ("max_body: 0", "max_body", "0", "greater than or equal to 1"),
        ("token_file: /nowhere/at/all", "token_file", "/nowhere/at/all", "readable file"),
        ("clusters: [{name: a}]", "clusters.0", "", "an issuer, or an api_server that tells it"),
        ("clusters: [{name: a, issuer: x}]", "clusters.0", "", "jwks or api_server, because keys are discovered"),
        ("clusters: [{name: a, issuer: x, jwks: https://}]", "clusters.0.jwks", "https://", "an https address"),
        ("clusters: [{name: a, issuer: x, jwks: keys.json}]", "clusters.0.jwks", "keys.json", "the absolute path of a file"),
        ("clusters: [{name: a, issuer: x, jwks: /no/such}]", "clusters.0.jwks", "/no/such", "a readable file with a JSON Web"),
        ("clusters: [{name: a, issuer: x, jwks: /dev/null}]", "clusters.0.jwks", "/dev/null", "a JSON Web Key Set; this one"),
        ("clusters: [{name: a, api_server: http://x}]", "clusters.0.api_server", "http://x", "an https address"),
        ("clusters: [{name: a, api_server: https://u@x}]", "clusters.0.api_server", "https://u@x", "an https address"),
        (
            "clusters: [{name: a, api_server: https://x, jwks: https://y}]",
            "clusters.0",
            "",
            "either jwks or api_server, for both give keys",
        ),
        (
            "clusters: [{name: a, api_server: https://x, service_account: agent}]",
            "clusters.0.service_account",
            "agent",
            "namespace/name of a service account, such as forklore/forklore-agent",
        ),
        ("clusters: [{name: a, api_server: https://x, isuer: y}]", "clusters.0.isuer", "", "there are name, issuer, jwks"),
        (
            "clusters: [{name: a, api_server: https://x}, {name: a, api_server: https://y}]",
            "clusters",
            "",
            "two have the same name and issuer",
        ),
        ("retenton: 7d", "retenton", "", "there are listen, store"),
        ("batches: many", "batches", "many", "integer"),
    ],
)
def test_a_mistake_has_key_value_and_what_is_valid(config, text, key, value, right):
    (line,) = mistakes(config(text))
    assert line.startswith(f"{key}: ") and value in line and right in line


def test_all_mistakes_are_reported_at_once(config):
    assert len(mistakes(config("listen: x\nstore: y\nfoo: z"))) == 3


@pytest.mark.parametrize("text", ["[1, 2]", "just text", "a: [", "1: 2"])
def test_a_file_without_settings_is_reported(config, text):
    (line,) = mistakes(config(text))
    assert "--config" in line


def test_a_missing_file_is_reported(tmp_path):
    (line,) = mistakes(tmp_path / "no.yaml")
    assert "cannot be read: No such file" in line


def test_an_empty_token_file_would_let_no_one_in_and_is_refused(config, tmp_path):
    (tmp_path / "token").write_text("\n")
    assert "empty" in mistakes(config(f"token_file: {tmp_path}/token"))[0]


def test_settings_do_not_change():
    with pytest.raises(ValueError, match="frozen"):
        Settings().listen = "x"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a node=n1\nb nod=n2\n", "line 2: only node=NAME and cluster=NAME may follow a token"),
        ("a n1 node=n1\n", "line 1: only node=NAME and cluster=NAME may follow a token"),
        ("a node=\n", "line 1: only node=NAME and cluster=NAME may follow a token"),
        ("a node=../x\n", "line 1: only node=NAME and cluster=NAME may follow a token"),
        ("a node=n1\na node=n2\n", "two lines have the same token for different nodes"),
        ("x" * 5000, "line 1: a token of more than 4096 bytes"),
        ("x\n" * 10_001, "more than 10000 tokens"),
        ("x" * 4000 + "\n" + "\n" * (1 << 20), "it has more than 1048576 bytes"),
    ],
)
def test_a_mistake_in_a_token_file_is_named_by_its_line_and_without_its_token(config, tmp_path, text, why):
    (tmp_path / "token").write_text(text)
    (line,) = mistakes(config(f"ingest_token_file: {tmp_path}/token"))
    assert why in line and "xxx" not in line


def test_a_cluster_alone_protects_an_address_that_others_reach(config):
    text = "listen: 0.0.0.0:9910\ntls: off\nclusters: [{name: a, api_server: https://x}]"
    (cluster,) = load(config(text)).clusters
    assert (cluster.name, cluster.service_account, load(config(text)).audience) == (
        "a",
        "forklore/forklore-agent",
        "forklore-collector",
    )
