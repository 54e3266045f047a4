"""Attributes have the names of OpenTelemetry's conventions, and a resource is one container."""

import importlib
import inspect
import json
import pkgutil
import re
from pathlib import Path

import pytest
from hypothesis import given
from opentelemetry.semconv._incubating import attributes as incubating
from opentelemetry.semconv.schemas import Schemas

from agent.model import Attribution, Container
from agent.sinks.encoders.native import k8s_fields
from agent.sinks.encoders.otel import OtelEncoder
from agent.sinks.encoders.otel.resource import image_parts
from agent.sinks.framing.otlp import SCHEMA_URL
from tests.agent.sinks.encoders.native_events import STREAM, agent_events
from tests.agent.sinks.encoders.plain_otel import WORKLOADS, attributes_of, parse_item
from tests.agent.sinks.model_strategies import a_fork, a_pod, forks, hostile

EXAMPLES = json.loads((Path(__file__).parents[4] / "wire/examples.json").read_text())


@pytest.fixture
def encoder():
    return OtelEncoder("demo", "node1")


def conventions():
    """The names of the conventions' attributes that are not deprecated. Those with a key of the user end in `.`"""
    names = set()
    for module in pkgutil.iter_modules(incubating.__path__, f"{incubating.__name__}."):
        source = inspect.getsource(importlib.import_module(module.name))
        for constant, name, comment in re.findall(
            r'^([A-Z0-9_]+): Final = "([^"]+)"\n"""\n(.*?)"""', source, re.MULTILINE | re.DOTALL
        ):
            if not comment.startswith("Deprecated:"):  # "Deprecated in favor of stable" is the same name, now stable
                names.add(f"{name}." if constant.endswith("_TEMPLATE") else name)
    return names


KNOWN = conventions()


def test_the_conventions_can_be_read():
    assert {"process.pid", "k8s.pod.name", "k8s.pod.label."} < KNOWN
    assert not {"container.runtime", "k8s.pod.labels.", "event.name"} & KNOWN


def is_a_name(name):
    return name.startswith("forklore.") or name in KNOWN or any(name.startswith(one) for one in KNOWN if one.endswith("."))


@given(forks(), agent_events())
def test_every_name_is_in_the_conventions_or_our_own(fork, event):
    encoder = OtelEncoder("demo", "node1")
    for message in (*parse_item(encoder.forks(STREAM, [fork])[0]), *parse_item(encoder.event(event))):
        assert [name for name in attributes_of(message) if not is_a_name(name)] == []


@pytest.mark.parametrize("kind", WORKLOADS)
def test_every_workloads_name_is_in_the_conventions(encoder, kind):
    attribution = Attribution(7, "/p", "resolved", "status", "u", a_pod(workload=(kind, "only-here")), None)
    resource, _ = parse_item(encoder.forks(STREAM, [a_fork(attribution=attribution)])[0])
    mine = {name for name, value in attributes_of(resource).items() if value == "only-here" and name.startswith("k8s.")}
    assert len(mine) == 1
    assert mine < KNOWN


def test_the_schema_url_names_the_version_of_the_conventions():
    assert [*Schemas][-1].value == SCHEMA_URL


def test_all_cgroups_of_a_container_are_one_resource(encoder):
    pod, box = a_pod(), Container("7b", "app")
    one, other = (Attribution(n, f"/p/{n}", "resolved", "status", "u", pod, box) for n in (7, 8))
    sidecar = Attribution(9, "/p/9", "resolved", "status", "u", pod, Container("8c", "sidecar"))
    resources = [parse_item(item)[0] for item in encoder.forks(STREAM, [a_fork(attribution=s) for s in (one, other, sidecar)])]
    assert resources[0] == resources[1] != resources[2]


def test_an_agent_event_has_the_resource_of_its_containers_forks(encoder):
    attribution = Attribution(7, "/p", "resolved", "status", "u", a_pod(), Container("7b", "app", "busybox:1.36"))
    summary = next(example for example in EXAMPLES if example["event"] == "fork_summary")
    (fork,) = encoder.forks(STREAM, [a_fork(attribution=attribution)])
    assert parse_item(encoder.event({**summary, **k8s_fields(attribution, "demo", "node1")}))[0] == parse_item(fork)[0]


@pytest.mark.parametrize(
    ("attribution", "service"),
    [
        (Attribution(7, "/p", "resolved", "status", "u", a_pod()), "cart"),
        (Attribution(7, "/p", "resolved", "status", "u", a_pod(workload=None)), "cart-1"),
        (Attribution(7, "/p", "unresolved", "cgroup", "u"), "unknown_service"),
        (Attribution(7, "/p", "host", None), "forklore"),
    ],
    ids=["workload", "pod alone", "pod without a name", "host"],
)
def test_the_service_is_the_workload_or_the_pod(encoder, attribution, service):
    assert attributes_of(parse_item(encoder.forks(STREAM, [a_fork(attribution=attribution)])[0])[0])["service.name"] == service


@pytest.mark.parametrize(
    ("image", "parts"),
    [
        ("busybox", ("busybox", None, None)),
        ("docker.io/library/busybox:1.36", ("docker.io/library/busybox", "1.36", None)),
        ("registry:5000/shop/cart", ("registry:5000/shop/cart", None, None)),
        ("registry:5000/shop/cart:1.2", ("registry:5000/shop/cart", "1.2", None)),
        ("shop/cart@sha256:00ff", ("shop/cart", None, "sha256:00ff")),
        ("r:5000/cart:1@sha256:00ff", ("r:5000/cart", "1", "sha256:00ff")),
        ("sha256:00ff", ("sha256:00ff", None, None)),
        ("", ("", None, None)),
        (None, (None, None, None)),
    ],
)
def test_an_image_has_name_tag_and_digest(image, parts):
    assert image_parts(image) == parts


@given(hostile)
def test_no_image_raises(image):
    name, tag, digest = image_parts(image)
    assert name is not None
    assert "" not in (tag, digest)
