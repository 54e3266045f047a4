"""`forklore demo`: the whole product on one machine, with a report that accounts for every fork.

It starts what a real node has, in the same order: API server, a pod, collector, agent, more pods; and stops it in reverse
order. The parts are real: child processes, containers, HTTP. Where KUBECONFIG is set, that cluster is used instead of the fake
API server and its containers.
"""

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import aiohttp

from dev.demo import report
from dev.demo.children import Child, free_port
from dev.demo.containers.runtime import ContainerError, Runtime, UnavailableError, claim
from dev.demo.kubernetes.api_server import KubernetesApi
from dev.demo.kubernetes.cluster import Cluster
from dev.demo.pins import pin_folder
from dev.demo.workloads import CART, WORKER, EndedContainer, Node

STATE = Path("/var/lib/forklore-demo")  # not /run or /tmp, which may be mounted noexec
NODE = "node1"
READY_TIMEOUT = 60.0  # seconds for a child to be ready; the agent compiles its BPF programs first, which takes 1 to 10
STOP_TIMEOUT = 45.0  # seconds for a child to end after SIGTERM; the agent drains and ships within less
TERMINAL_LINE, PLAIN_LINE = 1.0, 5.0  # seconds between two lines of counts


class DemoError(Exception):
    """The demo can't continue: one line that says why, and the exit code."""

    def __init__(self, message: str, exit_code: int = report.FAILED) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass
class Progress:
    """What is known so far, for the report that is written in any case."""

    attached: bool = False
    ledger: report.Json | None = None
    node: Node | None = None

    @property
    def containers(self) -> tuple[EndedContainer, ...]:
        return self.node.ended_containers() if self.node is not None else ()


def main(argv: Sequence[str]) -> int:
    """Runs the demo; returns its exit code: 0 every fork is accounted for and none lost, 3 otherwise, 69 something is missing,
    77 not root, 70 any other error. With `--report` the report is written in any case."""
    parser = argparse.ArgumentParser(prog="forklore demo", description="The whole product on this machine.")
    parser.add_argument("--for", dest="seconds", type=float, metavar="SECONDS", help="from the attach; default: until Ctrl-C")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the JSON report to this file")
    parser.add_argument("--state", type=Path, metavar="DIR", help=f"kept afterwards, with the logs; default: {STATE}, not kept")
    options = parser.parse_args(argv)
    progress = Progress()
    try:
        if os.geteuid() != 0:
            raise DemoError("it must run as root: it loads BPF programs into the kernel and starts containers", report.NOT_ROOT)
        with _folder(options.state or STATE, keep=options.state is not None) as state:
            asyncio.run(_demo(options.seconds, state, progress))
        if progress.ledger is None:
            raise DemoError("the agent left no ledger")
        result = report.from_ledger(progress.ledger, progress.containers)
    except DemoError as error:
        result = report.failed(str(error), error.exit_code, progress.ledger, progress.containers)
    except UnavailableError as error:
        result = report.failed(f"not available: {error}", report.UNAVAILABLE)
    except ContainerError as error:
        result = report.failed(f"a container did not start: {error}", report.FAILED, progress.ledger, progress.containers)
    except asyncio.CancelledError:
        result = report.failed("stopped before the agent was attached", 128 + signal.SIGINT)
    except BaseException as error:
        result = report.failed(f"{type(error).__name__}: {error}", report.FAILED)
        raise
    finally:
        if options.report is not None:
            options.report.write_text(json.dumps(result, indent=1) + "\n")
    for complaint in [*result["complaints"], *([result["error"]] if "error" in result else [])]:
        _print(complaint, sys.stderr)
    if "error" not in result:
        _print(", ".join(f"{name} {result[name]}" for name in report.NUMBERS))
    return int(result["exit_code"])


async def _demo(seconds: float | None, state: Path, progress: Progress) -> None:
    stop = asyncio.Event()
    main_task = asyncio.current_task()

    def request_stop() -> None:
        if progress.attached or main_task is None:
            stop.set()  # from the attach on it stops in order, with a report
        else:
            main_task.cancel()

    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(signum, request_stop)
    async with contextlib.AsyncExitStack() as stack:
        http = await stack.enter_async_context(aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)))
        kubeconfig = os.environ.get("KUBECONFIG", "").partition(os.pathsep)[0]
        if not kubeconfig:
            kubeconfig = str(state / "kubeconfig")
            cluster = Cluster()
            runtime = stack.enter_context(Runtime(state / "containers"))
            api = await stack.enter_async_context(KubernetesApi(cluster))
            api.write_kubeconfig(Path(kubeconfig))
            progress.node = await stack.enter_async_context(Node(cluster, runtime, NODE))
            await progress.node.start(CART)  # before the agent, as most pods are
        page = f"http://127.0.0.1:{free_port(9910)}"
        settings: dict[str, Any] = {"listen": page.removeprefix("http://"), "store": f"chdb://{state}/collector/store"}
        collector = await _start(stack, http, "collector", settings, state, f"{page}/healthz")
        status = f"http://127.0.0.1:{free_port(9911)}"
        pins = stack.enter_context(pin_folder(state))
        settings = {
            **({"node": NODE} if progress.node is not None else {}),  # in a real cluster the host's name
            "cluster": "demo",
            "state_dir": str(state / "agent"),
            "status": status.removeprefix("http://"),
            "kubernetes": {"kubeconfig": kubeconfig},
            "capture": {
                "summary_interval": "2s",  # somebody watches the counts
                "pin": str(pins),
            },
            "sinks": [{"name": report.SINK, "url": f"{page}/v1/events"}],
        }
        agent = await _start(stack, http, "agent", settings, state, f"{status}/readyz")
        progress.attached = True
        end = time.monotonic() + seconds if seconds is not None else None
        _print(f"the page: {page}/")
        if progress.node is not None:
            progress.node.start_counting()
            await progress.node.start(WORKER)
            progress.node.run_cron()
        await _count(stop, end, http, page, status, (collector, agent))
        if progress.node is not None:
            await progress.node.stop()
        exit_code = await agent.stop(STOP_TIMEOUT)
        with contextlib.suppress(FileNotFoundError):
            progress.ledger = json.loads((state / "agent/ledger.json").read_text())
        if exit_code:
            raise DemoError(f"the agent ended with {exit_code}: {agent.last_log_line()}")
        if collector.ended:
            raise DemoError(f"the collector ended by itself: {collector.last_log_line()}")


async def _start(
    stack: contextlib.AsyncExitStack, http: aiohttp.ClientSession, part: str, settings: dict[str, Any], state: Path, url: str
) -> Child:
    """Starts a part, and returns when `url` answers 200. The stack stops it, if it still runs by then."""
    child = await Child.start(part, settings, state)
    stack.push_async_callback(child.stop, STOP_TIMEOUT)
    await _wait_until_ready(child, http, url)
    return child


async def _wait_until_ready(child: Child, http: aiohttp.ClientSession, url: str) -> None:
    """Returns when `url` answers 200. If the child ended instead, its exit code becomes the demo's where both mean the same."""
    deadline = time.monotonic() + READY_TIMEOUT
    while time.monotonic() < deadline:
        if child.ended:
            code = child.process.returncode
            exit_code = code if code in {report.UNAVAILABLE, report.NOT_ROOT} else report.FAILED
            raise DemoError(f"the {child.part} ended with {code}: {child.last_log_line()}", exit_code)
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with http.get(url) as answer:
                if answer.status == 200:
                    return
        await asyncio.sleep(0.1)
    raise DemoError(f"the {child.part} was not ready after {READY_TIMEOUT:.0f} s: {child.last_log_line()}")


async def _count(
    stop: asyncio.Event,
    end: float | None,
    http: aiohttp.ClientSession,
    page: str,
    status: str,
    children: tuple[Child, Child],
) -> None:
    """Prints a line of counts at intervals, until `stop` is set, or until `end` (monotonic seconds)."""
    terminal = sys.stdout.isatty()
    ended = [asyncio.ensure_future(child.process.wait()) for child in children]
    stopped = asyncio.ensure_future(stop.wait())
    while not stopped.done() and (end is None or time.monotonic() < end):
        pause = TERMINAL_LINE if terminal else PLAIN_LINE
        if end is not None:
            pause = max(0.0, min(pause, end - time.monotonic()))
        await asyncio.wait([stopped, *ended], timeout=pause, return_when=asyncio.FIRST_COMPLETED)
        for child in children:
            if child.ended:
                raise DemoError(f"the {child.part} ended by itself with {child.process.returncode}: {child.last_log_line()}")
        with contextlib.suppress(aiohttp.ClientError, TimeoutError, KeyError):
            async with http.get(f"{status}/v1/ledger") as mine, http.get(f"{page}/v1/pods") as theirs:
                line = report.line(await mine.json(), len((await theirs.json())["pods"]))
            sys.stdout.write(f"\r\033[K{line}" if terminal else f"{line}\n")
            sys.stdout.flush()
    stopped.cancel()
    if terminal:
        sys.stdout.write("\n")


@contextlib.contextmanager
def _folder(state: Path, *, keep: bool) -> Iterator[Path]:
    """A folder for settings, logs and the children's state, locked for this demo. An earlier demo's state is removed first."""
    state.mkdir(parents=True, exist_ok=True)
    try:
        lock = claim(state)
    except BlockingIOError:
        raise DemoError(f"another demo runs in {state}; use another --state", report.UNAVAILABLE) from None
    for part in ("agent", "collector"):
        shutil.rmtree(state / part, ignore_errors=True)
        (state / part).mkdir()
    try:
        yield state.resolve()
    finally:
        if not keep:
            shutil.rmtree(state, ignore_errors=True)
        os.close(lock)


def _print(text: str, stream: TextIO | None = None) -> None:
    (stream or sys.stdout).write(f"forklore: {text}\n")
