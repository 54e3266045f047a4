"""Which forks and agent events a sink gets, by namespace, label and kind."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.model import Attribution
from agent.sinks.encoders.native import k8s_fields
from agent.sinks.selection import LabelRequirement, Selection
from tests.agent.sinks.model_strategies import a_pod, attributions
from wire.events import FORK, FORK_SUMMARY, GAP, KINDS, NODE_SUMMARY

EXAMPLES = json.loads((Path(__file__).parents[3] / "wire/examples.json").read_text())
HOST = Attribution(7, "/init.scope", "host", None)
UNNAMED = Attribution(9, "/kubepods/pod1/c", "unresolved", "cgroup", "1")
LOST = Attribution(0, None, "unresolved", None)


def an_attribution(**fields):
    return Attribution(8, "/p", "resolved", "status", "1", a_pod(**fields))


def a_gap(attribution, **fields):
    attributed = {
        **k8s_fields(attribution, "demo", "node1"),
        "enrichment": {"state": attribution.state, "by": attribution.by, "lag_ms": 0},
    }
    return {"event": GAP, "id": "1", "sink": None, **attributed, **fields}


@given(attributions)
def test_a_selection_without_conditions_selects_all(attribution):
    selection = Selection()
    assert selection.selects_all_attributions
    assert selection.selects_attribution(attribution)
    assert all(selection.selects_event(event) and selection.selects_kind(event["event"]) for event in EXAMPLES)


@pytest.mark.parametrize(
    ("include", "exclude", "selected"),
    [
        ((), ("kube-system",), ["shop", "team-a", "team-b"]),
        (("shop",), (), ["shop"]),
        (("team-*",), (), ["team-a", "team-b"]),
        (("team-?",), ("team-b",), ["team-a"]),
        (("team-[ab]", "shop"), ("team-[!a]",), ["shop", "team-a"]),
        (("*",), ("*",), []),
        (("team",), (), []),
    ],
)
def test_namespaces_are_names_or_patterns(include, exclude, selected):
    selection = Selection(include, exclude)
    found = [
        one
        for one in ("kube-system", "shop", "team-a", "team-b")
        if selection.selects_attribution(an_attribution(namespace=one))
    ]
    assert found == selected
    assert not selection.selects_all_attributions


@pytest.mark.parametrize(
    ("requirement", "selected"),
    [
        (LabelRequirement("app", frozenset(["cart"]), True), ["cart"]),
        (LabelRequirement("app", frozenset(["cart", "pay"]), True), ["cart", "pay"]),
        (LabelRequirement("app", frozenset(["cart"]), False), ["pay", None]),
        (LabelRequirement("app", None, True), ["cart", "pay"]),
        (LabelRequirement("app", None, False), [None]),
    ],
)
def test_a_label_must_or_must_not_have_one_of_some_values(requirement, selected):
    selection = Selection(labels=[requirement])
    labels = {"cart": {"app": "cart"}, "pay": {"app": "pay"}, None: {"tier": "web"}}
    assert [name for name, those in labels.items() if selection.selects_attribution(an_attribution(labels=those))] == selected


def test_all_label_requirements_must_be_met():
    selection = Selection(labels=[LabelRequirement("app", None, True), LabelRequirement("tier", frozenset(["web"]), True)])
    both, one = an_attribution(labels={"app": "x", "tier": "web"}), an_attribution(labels={"app": "x"})
    assert (selection.selects_attribution(both), selection.selects_attribution(one)) == (True, False)


def test_the_host_is_selected_independently_of_pods():
    assert Selection(include=["shop"], labels=[LabelRequirement("app", None, True)]).selects_attribution(HOST)
    without = Selection(host=False)
    assert not without.selects_attribution(HOST)
    assert not without.selects_all_attributions
    assert Selection(host=False).selects_attribution(an_attribution())


@pytest.mark.parametrize("unknown", [UNNAMED, LOST])
def test_a_pod_that_the_api_has_not_named_has_no_namespace_and_no_labels(unknown):
    assert Selection(exclude=["kube-system"]).selects_attribution(unknown)
    assert Selection(labels=[LabelRequirement("app", None, False)]).selects_attribution(unknown)
    assert Selection(host=False).selects_attribution(unknown)
    assert not Selection(include=["*"]).selects_attribution(unknown)
    assert not Selection(labels=[LabelRequirement("app", None, True)]).selects_attribution(unknown)


def test_an_attribution_is_checked_once():
    class Labels(dict):
        reads = 0

        def get(self, key, default=None):
            self.reads += 1
            return super().get(key, default)

    labels = Labels(app="cart")
    selection = Selection(labels=[LabelRequirement("app", frozenset(["cart"]), True)])
    attribution = an_attribution(labels=labels)
    assert [selection.selects_attribution(attribution) for _ in range(3)] == [True] * 3
    assert labels.reads == 1


selections = st.builds(
    Selection,
    st.sampled_from([(), ("shop",), ("*",)]),
    st.sampled_from([(), ("shop",)]),
    st.sampled_from([(), (LabelRequirement("app", frozenset(["cart"]), True),), (LabelRequirement("app", None, False),)]),
    host=st.booleans(),
)
namespaces = st.sampled_from(["shop", "kube-system"])
labels = st.sampled_from([{}, {"app": "cart"}, {"app": "pay"}])
those = st.sampled_from([HOST, UNNAMED, LOST]) | st.builds(an_attribution, namespace=namespaces, labels=labels)


@given(selections, those)
def test_agent_events_are_selected_like_the_forks_of_their_pod(selection, attribution):
    for kind in (FORK_SUMMARY, "fork_storm"):
        assert selection.selects_event(a_gap(attribution, event=kind)) == selection.selects_attribution(attribution)
    assert selection.selects_event(a_gap(attribution)) == selection.selects_attribution(attribution) or attribution is LOST


@pytest.mark.parametrize("cgroup", [None, {"id": 0, "path": None}])
def test_a_gap_without_a_cgroup_is_always_selected(cgroup):
    selection = Selection(include=["shop"], labels=[LabelRequirement("app", None, True)], host=False)
    for attribution in (HOST, LOST):
        assert selection.selects_event(a_gap(attribution, cgroup=cgroup))
        assert not selection.selects_event(a_gap(attribution, event=FORK_SUMMARY, cgroup=cgroup))


def test_a_gap_of_the_sink_itself_is_always_selected():
    """A process that was attached to a container is counted where it came from, which may be the host."""
    selection = Selection(include=["shop"], host=False)
    assert not selection.selects_event(a_gap(HOST))
    assert selection.selects_event(a_gap(HOST, sink="siem"))
    assert not Selection(kinds=[FORK]).selects_event(a_gap(HOST, sink="siem"))


def test_the_node_summary_belongs_to_no_pod():
    (heartbeat,) = [event for event in EXAMPLES if event["event"] == NODE_SUMMARY]
    assert Selection(include=["shop"], host=False).selects_event(heartbeat)


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_that_is_not_selected_is_left_out(kind):
    others = Selection(kinds=[one for one in KINDS if one != kind])
    assert [one for one in KINDS if not others.selects_kind(one)] == [kind]
    assert [event["event"] for event in EXAMPLES if not others.selects_event(event)] == [kind] * sum(
        event["event"] == kind for event in EXAMPLES
    )


def test_forks_are_selected_by_kind_too():
    assert not Selection(kinds=[GAP]).selects_kind(FORK)
