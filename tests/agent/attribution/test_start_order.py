"""A container is named by its pod's spec, before a status names it, only where it can be no other one."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.attribution.pods.objects import pod_of
from tests.agent.attribution.test_attributions import UID, Node

APP, SIDE = {"name": "app", "image": "shop/app:1"}, {"name": "proxy", "image": "envoy"}
INIT, MESH = {"name": "migrate", "image": "shop/app:1"}, {"name": "mesh", "image": "mesh", "restartPolicy": "Always"}
DEBUG = {"name": "dbg", "image": "busybox"}


def an_object(inits=(), apps=(APP,), ephemerals=(), statuses=(), **spec):
    """`statuses`: (field, name, id, state) of containers that the kubelet has reported."""
    named = {}
    for field, name, container, state in statuses:
        entry = {"name": name, "state": {state: {"exitCode": 0} if state == "terminated" else {}}}
        named.setdefault(field, []).append({**entry, "containerID": f"containerd://{container}"})
    spec |= {"initContainers": [*inits], "containers": [*apps], "ephemeralContainers": [*ephemerals]}
    return {"metadata": {"uid": UID, "namespace": "shop", "name": "cart"}, "spec": spec, "status": named}


def of_init(name, container, state="terminated"):
    return "initContainerStatuses", name, container, state


def of_app(name, container, state="running"):
    return "containerStatuses", name, container, state


class Pod(Node):
    """A pod on a node, as its API's object and its cgroups come to be known."""

    def __init__(self, **fields):
        super().__init__()
        self.pods.current = True
        self.reports(**fields)
        self._made = 0

    def reports(self, **fields):
        self.pods.put(pod_of(an_object(**fields)))

    def starts(self, scope="{}"):
        """Returns the number and the id of a container's cgroup."""
        self._made += 1
        container = f"{self._made:064x}"
        return self.container(scope.format(container)), container

    def ends(self, number):
        self._last += 1
        self.cgroups.mark_removed(number, self._last)
        self._last += 1

    def name(self, number):
        found = self.attributions.resolve_final(number)
        return found.container.name or found.container.kind


def test_the_only_container_of_the_spec_is_named_by_it():
    pod = Pod()
    sandbox, _ = pod.starts()
    app, container = pod.starts()
    found = pod.attributions.resolve_final(app)
    assert (found.state, found.by, found.pod.name) == ("resolved", "spec", "cart")
    assert (found.container.id, found.container.name, found.container.image, found.container.kind) == (
        container,
        "app",
        "shop/app:1",
        "app",
    )
    assert pod.name(sandbox) == "sandbox"


def test_it_is_named_once_the_time_to_wait_is_up_and_not_before():
    pod = Pod()
    pod.starts()
    app, _ = pod.starts()
    assert pod.attributions.find(app) is None


def test_the_container_of_a_pod_that_was_deleted_at_once_is_named():
    pod = Pod()
    pod.starts()
    app, _ = pod.starts()
    pod.ends(app)
    pod.pods.remove(UID, 0.0)
    assert pod.name(app) == "app"


def test_a_status_is_better_than_the_spec():
    pod = Pod()
    pod.starts()
    app, container = pod.starts()
    pod.attributions.resolve_final(app)
    pod.reports(statuses=[of_app("app", container)])
    found = pod.attributions.find(app)
    assert (found.by, found.container.name) == ("status", "app")


def test_the_name_stays_when_the_pod_changes_and_no_status_has_come():
    pod = Pod()
    pod.starts()
    app, _ = pod.starts()
    pod.attributions.resolve_final(app)
    pod.reports(ephemerals=[DEBUG])
    assert pod.attributions.find(app).by == "spec"


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"apps": [APP, SIDE]}, id="two containers: the first one's image may not have been pulled"),
        pytest.param({"ephemerals": [DEBUG]}, id="an ephemeral container may start at any time"),
        pytest.param({"runtimeClassName": "kata"}, id="another runtime may have no sandbox"),
    ],
)
def test_nothing_is_named_where_another_one_is_possible(fields):
    pod = Pod(**fields)
    pod.starts()
    assert pod.attributions.resolve_final(pod.starts()[0]).by == "cgroup"


def test_a_spec_that_may_be_old_names_nothing():
    pod = Pod()
    pod.starts()
    pod.pods.current = False
    assert pod.attributions.resolve_final(pod.starts()[0]).by == "cgroup"


def test_with_cri_o_the_first_container_is_not_taken_for_a_sandbox():
    pod = Pod()
    first, container = pod.starts("crio-{}.scope")
    second, _ = pod.starts("crio-{}.scope")
    assert pod.attributions.resolve_final(first).by == "cgroup"
    assert pod.attributions.resolve_final(second).by == "cgroup"
    pod.reports(statuses=[of_app("app", container)])
    assert pod.name(first) == "app"


def test_with_cri_o_what_is_left_when_all_containers_have_statuses_is_the_sandbox():
    pod = Pod()
    first, _ = pod.starts("crio-{}.scope")
    _, container = pod.starts("crio-{}.scope")
    pod.reports(statuses=[of_app("app", container)])
    assert pod.name(first) == "sandbox"


def test_a_container_that_a_container_started_in_its_pod_is_not_the_pods():
    """`docker run --cgroup-parent`, from a container that has the runtime's socket."""
    pod = Pod()
    pod.starts()
    app, container = pod.starts()
    inner, _ = pod.starts()
    assert pod.name(app) == "app"
    assert pod.attributions.resolve_final(inner).by == "cgroup"
    pod.reports(statuses=[of_app("app", container)])
    pod.ends(app)
    again, _ = pod.starts()
    assert pod.attributions.resolve_final(again).by == "cgroup", "which of both is it?"


def test_a_restarted_container_is_named_when_the_one_before_is_gone():
    pod = Pod()
    pod.starts()
    app, container = pod.starts()
    pod.reports(statuses=[of_app("app", container)])
    assert pod.attributions.resolve_final(pod.starts()[0]).by == "cgroup", "a container runs once at a time"
    pod = Pod()
    pod.starts()
    app, container = pod.starts()
    pod.reports(statuses=[of_app("app", container, "terminated")])
    pod.ends(app)
    assert pod.name(pod.starts()[0]) == "app"


def test_the_first_container_is_the_first_init_container_and_the_second_may_be_it_again():
    pod = Pod(inits=[INIT, MESH])
    pod.starts()
    first, _ = pod.starts()
    found = pod.attributions.resolve_final(first)
    assert (found.by, found.container.name, found.container.kind) == ("order", "migrate", "init")
    pod.ends(first)
    assert pod.attributions.resolve_final(pod.starts()[0]).by == "cgroup"


def test_init_containers_that_succeeded_and_sidecars_that_run_leave_the_only_container():
    pod = Pod(inits=[INIT, MESH])
    pod.starts()
    first, migrate = pod.starts()
    pod.ends(first)
    pod.reports(inits=[INIT, MESH], statuses=[of_init("migrate", migrate)])
    second, mesh = pod.starts()
    assert (pod.name(second), pod.attributions.resolve_final(second).container.kind) == ("mesh", "sidecar")
    pod.reports(inits=[INIT, MESH], statuses=[of_init("migrate", migrate), of_init("mesh", mesh, "running")])
    third, _ = pod.starts()
    assert (pod.name(third), pod.attributions.resolve_final(third).by) == ("app", "order")


def test_of_two_containers_the_one_that_does_not_run_is_named():
    pod = Pod(apps=[APP, SIDE])
    pod.starts()
    _, container = pod.starts()
    pod.reports(apps=[APP, SIDE], statuses=[of_app("proxy", container)])
    assert pod.name(pod.starts()[0]) == "app"


def test_a_container_that_was_there_before_the_agent_is_left_to_its_status():
    """Init containers may have ended before, or been forgotten since."""
    pod = Pod(inits=[INIT])
    pod.starts()
    pod.cgroups.walked = pod._last + 1
    assert pod.attributions.resolve_final(pod.starts()[0]).by == "cgroup"


def test_a_container_with_an_earlier_run_that_was_forgotten_is_left_to_its_status():
    pod = Pod(inits=[INIT])
    pod.starts()
    first, _ = pod.starts()
    pod.ends(first)
    pod.cgroups.forget(10**15)
    assert pod.attributions.resolve_final(pod.starts()[0]).by == "cgroup"


@pytest.mark.parametrize("state", ["running", "waiting"])
def test_an_init_container_that_is_not_reported_to_have_succeeded_may_run_again(state):
    pod = Pod(inits=[INIT])
    pod.starts()
    first, migrate = pod.starts()
    pod.ends(first)
    pod.reports(inits=[INIT], statuses=[of_init("migrate", migrate, state)])
    assert pod.attributions.resolve_final(pod.starts()[0]).by == "cgroup"


INITS, APPS = st.lists(st.booleans(), max_size=3), st.integers(1, 3)
ACTIONS = ["start"] * 4 + ["report"] * 4 + ["succeed"] * 3 + ["fail", "debug", "sandbox"]
STEPS = st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 4)), min_size=6, max_size=40)


class Kubelet:
    """Starts containers as the kubelet does, in every order that it may; statuses come late, or not at all."""

    def __init__(self, restartable, apps):
        self.inits = [
            {"name": f"init-{n}", **({"restartPolicy": "Always"} if one else {})} for n, one in enumerate(restartable)
        ]
        self.apps = [{"name": f"app-{n}"} for n in range(apps)]
        self.debug = []
        self.pod = Pod(inits=self.inits, apps=self.apps)
        self.truth = {}
        self.running = {}  # name -> cgroup
        self.states = {}  # name -> its status
        self.done = set()
        self.published = []
        self.sandbox = None
        self.new_sandbox()

    def new_sandbox(self):
        for name in list(self.running):
            self.end(name, "fail")
        if self.sandbox:
            self.pod.ends(self.sandbox)
        self.done = set()
        self.sandbox, _ = self.pod.starts()
        self.truth[self.sandbox] = "sandbox"

    def may_start(self):
        for one in self.inits:
            if one["name"] in self.done:
                continue
            if "restartPolicy" in one and one["name"] in self.running:
                continue
            return [] if one["name"] in self.running else [one["name"]]
        return [one["name"] for one in self.apps if one["name"] not in self.running]

    def start(self, name):
        number, container = self.pod.starts()
        self.truth[number], self.running[name] = name, number
        field = "init" if name.startswith("init") else "ephemeral" if name.startswith("dbg") else "app"
        field = {"init": "initContainerStatuses", "app": "containerStatuses", "ephemeral": "ephemeralContainerStatuses"}[field]
        self.states[name] = (field, name, container, "running")

    def end(self, name, how):
        self.pod.ends(self.running.pop(name))
        self.states[name] = (*self.states[name][:3], "terminated" if how == "succeed" else "waiting")
        if how == "succeed" and name.startswith("init"):
            self.done.add(name)

    def step(self, what, which):
        names, free = sorted(self.running), self.may_start()
        if what == "start" and free:
            self.start(free[which % len(free)])
        elif what in ("succeed", "fail") and names:
            self.end(names[which % len(names)], what)
        elif what == "debug" and len(self.debug) < 2:
            self.debug.append({"name": f"dbg-{len(self.debug)}"})
            self.report()
            self.start(self.debug[-1]["name"])
        elif what == "sandbox" and which == 0:
            self.new_sandbox()
        elif what == "report":
            self.published = list(self.states.values())
            self.report()

    def report(self):
        self.pod.reports(inits=self.inits, apps=self.apps, ephemerals=self.debug, statuses=self.published)


@settings(max_examples=150, deadline=None)
@given(INITS, APPS, STEPS)
def test_whatever_the_kubelet_starts_and_reports_no_container_has_anothers_name(restartable, apps, steps):
    kubelet = Kubelet(restartable, apps)
    for what, which in steps:
        kubelet.step(what, which)
        for number, name in kubelet.truth.items():
            found = kubelet.pod.attributions.resolve_final(number).container
            assert (found.name or found.kind) in (None, name)
