"""The agent's settings: mistakes are reported with key, value and what is valid; the environment overrides the file."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.settings import Settings, SettingsError, load

SINK = {"name": "siem", "url": "http://127.0.0.1:9910/v1/events"}


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch):
    import os  # noqa: PLC0415

    for name in os.environ:
        if name.startswith("FORKLORE_") or name == "NODE_NAME":
            monkeypatch.delenv(name)


@pytest.fixture
def settings_of(tmp_path):
    def read(text):
        file = tmp_path / "forklore.yaml"
        file.write_text(text)
        return load(file)

    return read


@pytest.fixture
def complaint(settings_of):
    """The only line of the error for a text."""

    def read(text):
        with pytest.raises(SettingsError) as refusal:
            settings_of(text)
        (line,) = refusal.value.lines
        return line

    return read


def test_without_a_file_everything_has_a_default():
    settings = load(None)
    assert (settings.cluster, settings.sinks, settings.status) == ("default", (), "0.0.0.0:9911")
    assert (settings.capture.ring_bytes, settings.capture.threads, settings.kubernetes.wait) == (16 << 20, False, 5.0)


def test_a_file_as_a_user_writes_it(settings_of):
    settings = settings_of(
        """
        node: node1
        cluster: demo
        capture: {threads: true, ring_bytes: 8Mi, summary_interval: 1m}
        kubernetes: {enabled: false, wait: 500ms, kubeconfig: /etc/kubeconfig}
        state_dir: /tmp/state
        status: "[::]:9911"
        sinks:
          - {name: siem, url: "https://siem.example:8088/x", token_file: /run/token, compression: zstd,
             batch: {events: 10, bytes: 1Mi, wait: 2s}, journal_bytes: 1Gi, headers: {X-Tenant: shop}}
        """
    )
    assert (settings.node, settings.cluster, settings.status) == ("node1", "demo", "[::]:9911")
    assert (settings.capture.threads, settings.capture.ring_bytes, settings.capture.summary_interval) == (True, 8 << 20, 60.0)
    assert (settings.kubernetes.enabled, settings.kubernetes.wait) == (False, 0.5)
    (sink,) = settings.sinks
    assert (sink.compression, sink.batch.events, sink.batch.bytes, sink.batch.wait) == ("zstd", 10, 1 << 20, 2.0)
    assert (sink.journal_bytes, sink.headers, sink.token_file) == (1 << 30, {"X-Tenant": "shop"}, Path("/run/token"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("capture: {ring_bytes: 5Mi}", ["capture.ring_bytes", "5Mi", "power of two"]),
        ("capture: {ring_bytes: 4Ki}", ["capture.ring_bytes", "4Ki", "64Ki to 1Gi"]),
        ("capture: {ring_bytes: lots}", ["capture.ring_bytes", "lots", "16Mi"]),
        ("capture: {ring_bytes: 0}", ["capture.ring_bytes", "0", "64Ki to 1Gi"]),
        ("capture: {ring_bytes: -65536}", ["capture.ring_bytes", "-65536"]),
        ("capture: {ring_bytes: true}", ["capture.ring_bytes", "True", "512Ki"]),
        ("capture: {ring_bytes: 16MB}", ["capture.ring_bytes", "16MB", "16Mi"]),
        ("capture: {summary_interval: 11}", ["capture.summary_interval", "11", "unit"]),
        ("capture: {summary_interval: 0s}", ["capture.summary_interval", "0s", "1s to 5m"]),
        ("capture: {summary_interval: 2h}", ["capture.summary_interval", "2h", "1s to 5m"]),
        ("capture: {summary_interval: -1s}", ["capture.summary_interval", "-1s", "unit"]),
        ("capture: {threads: perhaps}", ["capture.threads", "perhaps", "boolean"]),
        ("kubernetes: {wait: 61s}", ["kubernetes.wait", "61s", "0s to 60s"]),
        ("kubernetes: {wait: .nan}", ["kubernetes.wait", "nan"]),
        ("node: ''", ["node", "''", "at least 1"]),
        ("status: 9911", ["status", "9911"]),
        ("status: ':9911'", ["status", ":9911", "0.0.0.0:9911"]),
        ("status: 'localhost:99999'", ["status", "localhost:99999", "0.0.0.0:9911"]),
        ("status: 'localhost:x'", ["status", "localhost:x", "0.0.0.0:9911"]),
        ("sinks: 5", ["sinks", "5"]),
        ("sinks: [{name: siem}]", ["sinks.0.url", "required"]),
        ("sinks: [{name: UPPER, url: 'http://x'}]", ["sinks.0.name", "UPPER"]),
        ("sinks: [{name: siem, url: 'ftp://x'}]", ["sinks.0.url", "ftp://x", "https?"]),
        ("sinks: [{name: siem, url: 'http://x', compression: lzma}]", ["sinks.0.compression", "lzma", "gzip", "zstd", "none"]),
        ("sinks: [{name: siem, url: 'http://x', schema: cef}]", ["sinks.0.schema", "cef", "native"]),
        ("sinks: [{name: siem, url: 'http://x', protocol: grpc}]", ["sinks.0.protocol", "grpc", "http"]),
        ("sinks: [{name: siem, url: 'http://[x'}]", ["sinks.0.url", "http://[x", "https://siem.example:8088"]),
        ("sinks: [{name: siem, url: 'https://:8088/x'}]", ["sinks.0.url", "https://:8088/x", "https://siem.example:8088"]),
        ("sinks: [{name: siem, url: 'http://x:99999'}]", ["sinks.0.url", "http://x:99999", "https://siem.example:8088"]),
        ("sinks: [{name: siem, url: 'http://x/#y'}]", ["sinks.0.url", "http://x/#y", "without a fragment"]),
        ("sinks: [{name: siem, url: 'http://x', batch: {events: 0}}]", ["sinks.0.batch.events", "0", "1"]),
        ("sinks: [{name: siem, url: 'http://x', journal_bytes: 5}]", ["sinks.0.journal_bytes", "5", "1Mi to 64Gi"]),
    ],
)
def test_a_wrong_value_is_reported_with_its_key_and_what_is_valid(complaint, text, words):
    line = complaint(text)
    assert line.startswith(f"{words[0]}")
    assert [word for word in words if word not in line] == []


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("nodes: node1", "nodes"),
        ("capture: {thread: true}", "capture.thread"),
        ("sinks: [{name: siem, url: 'http://x', token: secret}]", "sinks.0.token"),
    ],
)
def test_an_unknown_key_is_refused_by_its_name(complaint, text, key):
    line = complaint(text)
    assert line == f"{key}: there is no such setting"


@pytest.mark.parametrize(
    ("sink", "words"),
    [
        ("protocol: splunk_hec, schema: ecs", ["schema", "'ecs'", "splunk_hec takes native or ocsf", "http or elasticsearch"]),
        (
            "protocol: elasticsearch, schema: native",
            ["schema", "elasticsearch takes ecs", "native goes with http or splunk_hec"],
        ),
        ("protocol: otlp, schema: ocsf", ["schema", "otlp takes otel", "ocsf goes with http or splunk_hec"]),
        ("schema: otel", ["schema", "http takes native, ecs or ocsf", "otel goes with otlp"]),
        ("protocol: splunk_hec, compression: zstd", ["compression", "splunk_hec takes gzip or none", "http or otlp"]),
        ("protocol: otlp, framing: json", ["framing", "is a key of http", "otlp"]),
        ("index: main", ["index", "is a key of splunk_hec or elasticsearch", "http"]),
        ("protocol: otlp, source: x", ["source", "is a key of splunk_hec"]),
        ("protocol: elasticsearch, sourcetype: x", ["sourcetype", "is a key of splunk_hec"]),
        ("protocol: splunk_hec, data_stream: logs-a-b", ["data_stream", "is a key of elasticsearch"]),
        ("protocol: splunk_hec, index: Main", ["index", "Main", "small letters"]),
        ("protocol: splunk_hec, index: a.b", ["index", "a.b", "Splunk"]),
        ("protocol: elasticsearch, index: _all", ["index", "_all", "Elasticsearch"]),
        ("protocol: elasticsearch, index: a/b", ["index", "a/b", "Elasticsearch"]),
        ("protocol: elasticsearch, data_stream: logs-a", ["data_stream", "logs-a", "logs-forklore.process-default"]),
        ("protocol: elasticsearch, data_stream: logs-a-b-c", ["data_stream", "type-dataset-namespace"]),
        ("protocol: elasticsearch, index: a, data_stream: logs-a-b", ["data_stream", "either index or data_stream"]),
        ("token_file: /t, auth: splunk", ["auth", "splunk", "http takes bearer, basic or header", "splunk_hec"]),
        ("token_file: /t, auth: digest", ["auth", "digest", "bearer"]),
        ("auth: basic", ["sinks.0:", "token_file"]),
        ("username: me", ["username", "auth: basic"]),
        ("token_file: /t, username: me", ["username", "auth: basic"]),
        ("token_file: /t, auth: basic, username: 'a:b'", ["username", "a:b"]),
        ("token_file: /t, auth: header", ["sinks.0:", "token_header"]),
        ("token_file: /t, token_header: X-Key", ["token_header", "auth: header"]),
        ("token_file: /t, auth: header, token_header: 'a b'", ["token_header", "a b", "DD-API-KEY"]),
        ("token_file: /t, auth: header, token_header: Host", ["token_header", "Host"]),
        ("headers: {'a b': s3cr3t}", ["headers", "a b"]),
        ('headers: {X-A: "s3cr3t\\r\\nX-B: 1"}', ["headers", "X-A", "one line"]),
        ("headers: {X-A: 's3cr3t\u00df'}", ["headers", "X-A", "ASCII"]),
        ("headers: {content-length: s3cr3t}", ["headers", "content-length", "forklore sets that itself"]),
        ("token_file: /t, headers: {authorization: s3cr3t}", ["headers", "authorization", "token_file"]),
        ("token_file: /t, auth: header, token_header: X-Key, headers: {x-key: s3cr3t}", ["headers", "x-key", "token_file"]),
        ("labels: ['a b']", ["labels", "a b", "app.kubernetes.io/*"]),
        ("labels: ['*a']", ["labels", "*a", "app.kubernetes.io/*"]),
        ("annotations: ['example.com/*']", ["annotations", "example.com/*", "a whole key"]),
        ("drop_fields: [id]", ["drop_fields", "id", "every event keeps id"]),
        ("drop_fields: [k8s.labels, timestamp.x]", ["drop_fields", "timestamp.x", "every event keeps timestamp"]),
        ("schema: ecs, drop_fields: [event]", ["drop_fields", "event", "every event keeps event.id"]),
        ("schema: ocsf, drop_fields: [metadata]", ["drop_fields", "metadata", "every event keeps metadata.uid"]),
        ("protocol: otlp, drop_fields: [log.record.uid]", ["drop_fields", "log.record.uid"]),
        ("drop_fields: [a..b]", ["drop_fields", "a..b", "k8s.labels"]),
        ("drop_fields: ['']", ["drop_fields", "''", "k8s.labels"]),
        ("select: {namespaces: {include: [Kube]}}", ["select.namespaces.include", "Kube", "team-*"]),
        ("select: {namespaces: {exclude: ['a,b']}}", ["select.namespaces.exclude", "a,b", "team-*"]),
        ("select: {labels: 'app=cart tier=web'}", ["select.labels", "app=cart tier=web", "key=value"]),
        ("select: {labels: 'tier in web'}", ["select.labels", "tier in web", "key in (a, b)"]),
        ("select: {labels: '!app=cart'}", ["select.labels", "!app=cart", "key!=value"]),
        ("select: {labels: {app: cart}}", ["select.labels", "app=cart, tier in (web, db), !debug"]),
        ("select: {events: []}", ["select.events", "at least one of", "gap"]),
        ("select: {events: [forks]}", ["select.events", "forks", "sched_process_fork"]),
        ("select: {host: perhaps}", ["select.host", "perhaps", "boolean"]),
    ],
)
def test_settings_of_a_sink_that_exclude_each_other_are_refused_with_what_is_valid(complaint, sink, words):
    line = complaint(f"sinks: [{{name: siem, url: 'http://x', {sink}}}]")
    assert line.startswith("sinks.0")
    assert [word for word in words if word not in line] == []
    assert "s3cr3t" not in line


@pytest.mark.parametrize(
    ("protocol", "schema", "auth"),
    [
        ("http", "native", "bearer"),
        ("splunk_hec", "native", "splunk"),
        ("elasticsearch", "ecs", "api_key"),
        ("otlp", "otel", "bearer"),
    ],
)
def test_a_protocol_alone_sets_its_defaults(settings_of, protocol, schema, auth):
    for given_ in ("", ", schema: null, auth: null, index: null"):
        (sink,) = settings_of(f"sinks: [{{name: siem, url: 'http://x', token_file: /t, protocol: {protocol}{given_}}}]").sinks
        assert (sink.schema_, sink.auth, sink.compression) == (schema, auth, "gzip")


def test_a_wrong_protocol_is_one_mistake_and_not_one_for_each_key_that_depends_on_it(complaint):
    line = complaint("sinks: [{name: a, url: 'http://x', protocol: grpc, schema: otel, auth: splunk, index: x, source: y}]")
    assert "sinks.0.protocol = 'grpc'" in line


def test_a_whole_sink_of_each_protocol_as_a_user_writes_it(settings_of):
    splunk, elastic, otlp, other = settings_of(
        """
        sinks:
          - {name: splunk, url: "https://s:8088", protocol: splunk_hec, schema: ocsf, token_file: /t, auth: bearer,
             index: main, source: forklore, sourcetype: "ocsf:process"}
          - {name: elastic, url: "https://e:9200", protocol: elasticsearch, token_file: /t, auth: basic, username: me,
             data_stream: logs-forks-prod}
          - {name: otel, url: "http://o:4318", protocol: otlp, token_file: /t, auth: header, token_header: api-key,
             compression: zstd, drop_fields: [body, process.user.id]}
          - {name: other, url: "http://x/y", schema: ecs, framing: json, headers: {Content-Type: application/json},
             select: {namespaces: {exclude: [kube-*]}, host: false, events: [gap, fork_summary],
                      labels: "app=cart, app.kubernetes.io/name in (a, b),tier!=, x notin (c) ,!debug, y"},
             labels: [app, app.kubernetes.io/*], annotations: [example.com/owner], drop_fields: [process.user.id]}
        """
    ).sinks
    assert (splunk.schema_, splunk.auth, splunk.index, splunk.sourcetype) == ("ocsf", "bearer", "main", "ocsf:process")
    assert (elastic.schema_, elastic.auth, elastic.username, elastic.data_stream) == ("ecs", "basic", "me", "logs-forks-prod")
    assert (otlp.schema_, otlp.token_header, otlp.compression) == ("otel", "api-key", "zstd")
    assert otlp.drop_fields == ("body", "process.user.id")
    assert (other.schema_, other.framing, other.auth) == ("ecs", "json", "bearer")
    assert (other.labels, other.annotations) == (("app", "app.kubernetes.io/*"), ("example.com/owner",))
    select = other.select
    assert (select.namespaces.exclude, select.namespaces.include, select.host) == (("kube-*",), (), False)
    assert select.events == ("gap", "fork_summary")
    assert select.labels == (
        ("app", frozenset({"cart"}), True),
        ("app.kubernetes.io/name", frozenset({"a", "b"}), True),
        ("tier", frozenset({""}), False),
        ("x", frozenset({"c"}), False),
        ("debug", None, False),
        ("y", None, True),
    )


def test_every_mistake_is_reported_and_not_only_the_first(settings_of):
    with pytest.raises(SettingsError) as refusal:
        settings_of("{capture: {ring_bytes: 5Mi, threads: x}, nope: 1}")
    assert len(refusal.value.lines) == 3


def test_a_secret_in_an_unknown_key_is_not_shown(complaint):
    assert "secret" not in complaint("sinks: [{name: siem, url: 'http://x', token: secret}]")


def test_two_sinks_of_one_name_are_refused(complaint):
    assert "the same name" in complaint("sinks: [{name: a, url: 'http://x'}, {name: a, url: 'http://y'}]")


def test_a_missing_file_is_reported(tmp_path):
    with pytest.raises(SettingsError, match="does not exist"):
        load(tmp_path / "nowhere")


@pytest.mark.parametrize("text", ["{", "a: b: c", "- 1", "text", "5", "\x00", "!!python/object:os.system {}", "? [a]\n: 1"])
def test_a_file_without_settings_is_refused_in_one_line(complaint, text):
    assert "\n" not in complaint(text)


def test_a_file_that_is_not_text_is_refused(tmp_path):
    file = tmp_path / "binary"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError):
        load(file)


@pytest.mark.parametrize("text", ["", "# nothing", "---"])
def test_an_empty_file_is_all_defaults(settings_of, text):
    assert settings_of(text).cluster == "default"


def test_the_environment_overrides_the_file_key_by_key(settings_of, monkeypatch):
    monkeypatch.setenv("FORKLORE_CAPTURE__THREADS", "true")
    monkeypatch.setenv("FORKLORE_CLUSTER", "from-environment")
    settings = settings_of("{cluster: from-file, node: from-file, capture: {ring_bytes: 8Mi}}")
    assert (settings.cluster, settings.node) == ("from-environment", "from-file")
    assert (settings.capture.threads, settings.capture.ring_bytes) == (True, 8 << 20)


def test_sinks_can_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("FORKLORE_SINKS", '[{"name": "siem", "url": "http://x"}]')
    assert [sink.name for sink in load(None).sinks] == ["siem"]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("FORKLORE_CAPTURE__RING_BYTES", "5Mi", ["capture.ring_bytes", "5Mi", "power of two"]),
        ("FORKLORE_CAPTURE__NOPE", "1", ["capture.nope", "no such setting"]),
        ("FORKLORE_SINKS", "{", ["environment", "sinks"]),
        ("FORKLORE_KUBERNETES__WAIT", "5", ["kubernetes.wait", "5", "unit"]),
    ],
)
def test_a_wrong_environment_is_named_as_well(monkeypatch, name, value, words):
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as refusal:
        load(None)
    (line,) = refusal.value.lines
    assert [word for word in words if word not in line] == []


def test_variables_of_a_kubernetes_service_of_our_name_are_ignored(monkeypatch):
    monkeypatch.setenv("FORKLORE_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("FORKLORE_PORT", "tcp://10.0.0.1:9910")
    assert load(None).cluster == "default"


def test_the_node_is_the_settings_then_kubernetes_then_the_hosts(settings_of, monkeypatch):
    hosts = load(None).node
    monkeypatch.setenv("NODE_NAME", "downward")
    assert (load(None).node, settings_of("node: mine").node) == ("downward", "mine")
    assert hosts
    assert hosts != "downward"


def test_settings_can_not_be_changed():
    settings = load(None)
    with pytest.raises(ValueError, match="frozen"):
        settings.cluster = "other"


def test_one_load_leaves_nothing_for_the_next(settings_of):
    settings_of("cluster: first")
    assert load(None).cluster == "default"
    assert Settings.file is None


yaml_words = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)
keys = st.sampled_from(["node", "cluster", "capture", "kubernetes", "state_dir", "status", "status_token_file", "sinks"])


@given(st.dictionaries(keys, yaml_words, max_size=3))
def test_any_text_gives_settings_or_a_complaint(tmp_path_factory, written):
    import yaml  # noqa: PLC0415

    file = tmp_path_factory.mktemp("any") / "forklore.yaml"
    file.write_text(yaml.safe_dump(written))
    try:
        assert isinstance(load(file), Settings)
    except SettingsError as refusal:
        assert refusal.lines
        assert all(line and "\n" not in line for line in refusal.lines)


def test_a_time_without_a_unit_is_refused_also_when_it_has_a_point(complaint):
    assert "unit" in complaint("kubernetes: {wait: 5.5}")


def test_a_time_without_a_unit_is_refused_also_when_its_number_is_the_defaults(complaint):
    assert "unit" in complaint("capture: {summary_interval: 10}")


@pytest.mark.parametrize(("text", "written"), [("kubernetes: {wait: 61s}", "61s"), ("capture: {ring_bytes: 4Ki}", "4Ki")])
def test_a_wrong_value_is_shown_as_it_was_written(complaint, text, written):
    assert written in complaint(text)
