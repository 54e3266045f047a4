"""Real containers: the kernel shows them like a kubelet's, and nothing of them is left behind."""

import json
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dev.demo.containers import leftovers
from dev.demo.containers.runtime import ContainerError, Runtime, cgroups_path, clean_up

pytestmark = pytest.mark.containers
UID, ID = "a87d9c0e-19ae-4043-83a2-abda8b90c98e", "7b" * 32
FOREVER = ("sleep", "1000")


@pytest.fixture
def runtime(tmp_path):
    with Runtime(tmp_path / "runtime") as runtime:
        yield runtime


def alive(pid):
    """Not true of a zombie, which only waits for its new parent to reap it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(
    ("qos", "driver", "expected"),
    [
        ("burstable", "cgroupfs", f"/kubepods/burstable/pod{UID}/{ID}"),
        ("guaranteed", "cgroupfs", f"/kubepods/pod{UID}/{ID}"),
        (
            "besteffort",
            "systemd",
            "/kubepods.slice/kubepods-besteffort.slice/"
            f"kubepods-besteffort-pod{UID.replace('-', '_')}.slice/cri-containerd-{ID}.scope",
        ),
        ("guaranteed", "systemd", f"/kubepods.slice/kubepods-pod{UID.replace('-', '_')}.slice/cri-containerd-{ID}.scope"),
    ],
)
def test_a_container_is_in_the_requested_cgroup_of_every_hierarchy(runtime, qos, driver, expected):
    assert cgroups_path(UID, ID, qos=qos, driver=driver) == expected
    container = runtime.start(FOREVER, pod_uid=UID, container_id=ID, qos=qos, driver=driver)
    lines = Path(f"/proc/{container.pid}/cgroup").read_text().splitlines()
    assert {line.split(":", 2)[2] for line in lines} == {expected}
    assert len(leftovers.directories(expected)) == len(leftovers.hierarchies())


def test_a_container_has_its_own_namespaces_and_is_pid_1_in_them(runtime):
    container = runtime.start(FOREVER, own_network=True)
    for kind in ("pid", "mnt", "uts", "ipc", "net"):
        assert Path(f"/proc/{container.pid}/ns/{kind}").readlink() != Path(f"/proc/self/ns/{kind}").readlink(), kind
    status = Path(f"/proc/{container.pid}/status").read_text()
    assert f"NSpid:\t{container.pid}\t1\n" in status


def test_without_a_network_of_its_own_it_is_in_the_host_s(runtime):
    container = runtime.start(FOREVER)
    assert Path(f"/proc/{container.pid}/ns/net").readlink() == Path("/proc/self/ns/net").readlink()


def test_exec_runs_inside_and_returns_its_output(runtime):
    container = runtime.start(FOREVER, name="cart")
    answer = runtime.exec(container, ["sh", "-c", "hostname; readlink /proc/self/ns/pid; exit 7"])
    assert answer.returncode == 7
    assert answer.stdout.split() == ["cart", str(Path(f"/proc/{container.pid}/ns/pid").readlink())]


def test_the_distribution_s_python_runs_inside_and_forks_a_pool(runtime):
    program = "import multiprocessing as m; print(sum(m.Pool(2).map(abs, [-1, -2, -3])))"
    container = runtime.start(["/usr/bin/python3", "-c", program])
    assert runtime.wait(container, 60) == 0, container.log.read_text()
    assert container.log.read_text() == "6\n"


def test_files_go_in_and_out_through_work(runtime):
    container = runtime.start(["sh", "-c", "echo $WORD > /work/out; touch /nowhere"], env={"WORD": "hello"})
    assert runtime.wait(container, 30) == 1, "the root is read-only"
    assert (container.work / "out").read_text() == "hello\n"


def test_the_exit_code_shows_how_it_ended(runtime):
    ended, killed = runtime.start(["sh", "-c", "exit 3"]), runtime.start(FOREVER)
    runtime.kill(killed)
    assert runtime.wait(ended, 30) == 3
    assert runtime.wait(killed, 30) == 128 + signal.SIGKILL
    assert runtime.running() == ()


def test_an_error_of_runc_has_its_own_message(runtime):
    with pytest.raises(ContainerError, match="no-such-program"):
        runtime.start(["/no-such-program"])


def test_only_a_privileged_container_may_nest_namespaces(runtime):
    nest = ["unshare", "--pid", "--fork", "sh", "-c", "echo $$"]
    ordinary, privileged = runtime.start(nest), runtime.start(nest, privileged=True)
    assert runtime.wait(ordinary, 30) != 0
    assert runtime.wait(privileged, 30) == 0
    assert privileged.log.read_text() == "1\n"


def test_several_start_side_by_side(runtime):
    with ThreadPoolExecutor(4) as threads:
        containers = list(threads.map(lambda _: runtime.start(FOREVER), range(4)))
    assert {container.pid for container in runtime.running()} == {container.pid for container in containers}


def test_two_runtimes_do_not_share_a_root(runtime):
    with pytest.raises(BlockingIOError), Runtime(runtime.root):
        pass
    assert runtime.wait(runtime.start(["true"]), 30) == 0, "and the first one still works"


def test_deleting_a_container_keeps_its_pod_s_cgroup_for_the_others_in_it(runtime):
    sandbox = runtime.start(FOREVER, pod_uid=UID)
    app = runtime.start(FOREVER, pod_uid=UID)
    pod = str(Path(sandbox.cgroups_path).parent)
    runtime.delete(app)
    assert leftovers.directories(app.cgroups_path) == ()
    assert len(leftovers.directories(sandbox.cgroups_path)) == len(leftovers.hierarchies())
    runtime.delete(sandbox)
    assert leftovers.directories(pod) == ()
    assert not Path(f"/proc/{sandbox.pid}").exists()


def test_nothing_is_left_after_closing(tmp_path, traces):
    with Runtime(tmp_path / "runtime") as runtime:
        one = runtime.start(FOREVER)
        two = runtime.start(["sh", "-c", "sleep 1000 & sleep 1000"], driver="systemd", qos="guaranteed")
        runtime.wait(runtime.start(["true"]))
    assert [pid for pid in (one.pid, two.pid) if Path(f"/proc/{pid}").exists()] == []
    assert not (tmp_path / "runtime").exists()
    assert traces.found(seconds=0) == []


def test_a_cgroup_that_was_there_before_stays(tmp_path):
    existing = leftovers.hierarchies()[0] / f"kubepods/burstable/pod{UID}"
    created = [place for place in (existing, *existing.parents) if not place.exists()]
    existing.mkdir(parents=True)
    try:
        with Runtime(tmp_path / "runtime") as runtime:
            runtime.delete(runtime.start(FOREVER, pod_uid=UID))
        assert existing.is_dir()
    finally:
        for place in created:
            place.rmdir()


CRASH = """
import os, sys, threading, time
from pathlib import Path
from dev.demo.containers.runtime import Runtime
with Runtime(Path(sys.argv[1])) as runtime:
    runtime.start(["sleep", "1000"])
    starting = threading.Thread(target=runtime.start, args=(["sleep", "1000"],))
    starting.start()
    if sys.argv[2] == "started":
        starting.join()
    else:
        time.sleep(float(sys.argv[2]))
    if sys.argv[3] == "without cleanup":
        runtime._cleanup_process.dismiss()
    os.kill(os.getpid(), 9)
"""


def crash(root, when, how):
    """Kills a process with one running container, and another one that is `when` seconds into its start, or `started`. `how`:
    `with cleanup` or `without cleanup` by its cleanup process."""
    crashed = subprocess.run([sys.executable, "-c", CRASH, root, when, how], check=False)
    assert crashed.returncode == -signal.SIGKILL


@pytest.mark.parametrize("seconds_into_a_start", ["0", "0.01", "0.02", "0.5"])
def test_nothing_is_left_after_its_process_was_killed(tmp_path, traces, seconds_into_a_start):
    crash(tmp_path / "runtime", seconds_into_a_start, "with cleanup")
    assert traces.found() == []
    assert not (tmp_path / "runtime").exists()


def test_the_next_runtime_removes_what_a_crash_left(tmp_path, traces):
    crash(tmp_path / "runtime", "started", "without cleanup")
    left = [json.loads(state.read_text())["init_process_pid"] for state in (tmp_path / "runtime/state").glob("*/state.json")]
    assert len([pid for pid in left if alive(pid)]) == 2
    with Runtime(tmp_path / "runtime"):
        assert [pid for pid in left if alive(pid)] == []
    assert traces.found() == []


def test_a_cleanup_finds_containers_that_runc_does_not_know(tmp_path, traces):
    crash(tmp_path / "runtime", "started", "without cleanup")
    shutil.rmtree(tmp_path / "runtime/state")
    clean_up(tmp_path / "runtime")
    assert traces.found() == []


def test_a_cleanup_kills_a_runc_that_is_starting_a_container(tmp_path):
    root = tmp_path / "runtime"
    root.mkdir()
    command = ["/bin/sh", "-c", "read -r _", "runc", "--root", root / "state", "run"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as starting:
        # Popen returns during exec: for a moment the process has no command line.
        while b"runc" not in Path(f"/proc/{starting.pid}/cmdline").read_bytes():
            time.sleep(0.001)
        clean_up(root)
        assert starting.wait(10) == -signal.SIGKILL
