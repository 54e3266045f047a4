"""`forklore demo`: the whole product on one machine, counted to the last fork.

In the order of a real node: API server, an existing pod, collector, agent, more pods; then the reverse. All parts are real:
child processes, containers, HTTP. With KUBECONFIG set, that cluster replaces the stand-in and its containers. `report` reads
the ledger.
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
from dev.demo.pins import place_for_pins
from dev.demo.workloads import CART, WORKER, Node, Ran

STATE = Path("/var/lib/forklore-demo")  # not /run or /tmp: programs may be barred from running there
NODE = "node1"
READY_PATIENCE = 60.0  # seconds for a child to be ready; the agent compiles its BPF programs first, which takes 1 to 10
STOP_PATIENCE = 45.0  # seconds for a child to end after SIGTERM; the agent drains, ships and ends in less
TERMINAL_LINE, PLAIN_LINE = 1.0, 5.0  # seconds between two lines of counts


class DemoError(Exception):
    """The demo can't continue: one line with the reason, and the exit code for it."""

    def __init__(self, message: str, exit_code: int = report.BROKEN) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass
class Progress:
    """Known so far, for a report that is written in any case."""

    attached: bool = False
    ledger: report.Json | None = None
    node: Node | None = None

    @property
    def ran(self) -> tuple[Ran, ...]:
        return self.node.ran() if self.node is not None else ()


def main(argv: Sequence[str]) -> int:
    """Runs the demo; returns its exit code: 0 all accounted for and nothing lost, 3 not so, 69 something is not available,
    77 not root, 70 anything else. With `--report` the report is written in any case."""
    parser = argparse.ArgumentParser(prog="forklore demo", description="The whole product on this machine.")
    parser.add_argument("--for", dest="seconds", type=float, metavar="SECONDS", help="from the attach; default: until Ctrl-C")
    parser.add_argument("--report", type=Path, metavar="FILE", help="where the JSON report goes")
    parser.add_argument("--state", type=Path, metavar="DIR", help=f"kept afterwards, with the logs; default: {STATE}, not kept")
    options = parser.parse_args(argv)
    progress = Progress()
    try:
        if os.geteuid() != 0:
            raise DemoError("it must be root: it loads BPF programs into the kernel and starts containers", report.NOT_ROOT)
        with _folder(options.state or STATE, keep=options.state is not None) as state:
            asyncio.run(_demo(options.seconds, state, progress))
        if progress.ledger is None:
            raise DemoError("the agent left no ledger")
        result = report.from_ledger(progress.ledger, progress.ran)
    except DemoError as error:
        result = report.failed(str(error), error.exit_code, progress.ledger, progress.ran)
    except UnavailableError as error:
        result = report.failed(f"not available: {error}", report.UNAVAILABLE)
    except ContainerError as error:
        result = report.failed(f"a container would not start: {error}", report.BROKEN, progress.ledger, progress.ran)
    except asyncio.CancelledError:
        result = report.failed("stopped before the agent was attached", 128 + signal.SIGINT)
    except BaseException as error:
        result = report.failed(f"{type(error).__name__}: {error}", report.BROKEN)
        raise
    finally:
        if options.report is not None:
            options.report.write_text(json.dumps(result, indent=1) + "\n")
    for complaint in [*result["complaints"], *([result["error"]] if "error" in result else [])]:
        _say(complaint, sys.stderr)
    if "error" not in result:
        _say(", ".join(f"{name} {result[name]}" for name in report.NUMBERS))
    return int(result["exit_code"])


async def _demo(seconds: float | None, state: Path, progress: Progress) -> None:
    stop = asyncio.Event()
    whole = asyncio.current_task()

    def leave() -> None:
        if progress.attached or whole is None:
            stop.set()  # from here on it ends in order, with a report
        else:
            whole.cancel()

    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(signum, leave)
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
            await progress.node.start(CART)  # it exists before the agent, as most pods do
        page = f"http://127.0.0.1:{free_port(9910)}"
        settings: dict[str, Any] = {"listen": page.removeprefix("http://"), "store": f"chdb://{state}/collector/store"}
        collector = await _started(stack, http, "collector", settings, state, f"{page}/healthz")
        status = f"http://127.0.0.1:{free_port(9911)}"
        pins = stack.enter_context(place_for_pins(state))
        settings = {
            **({"node": NODE} if progress.node is not None else {}),  # in a real cluster it is the host's own
            "cluster": "demo",
            "state_dir": str(state / "agent"),
            "status": status.removeprefix("http://"),
            "kubernetes": {"kubeconfig": kubeconfig},
            "capture": {
                "summary_interval": "2s",  # for the live page
                "pin": str(pins),
            },
            "sinks": [{"name": report.SINK, "url": f"{page}/v1/events"}],
        }
        agent = await _started(stack, http, "agent", settings, state, f"{status}/readyz")
        progress.attached = True
        end = time.monotonic() + seconds if seconds is not None else None
        _say(f"the page: {page}/")
        if progress.node is not None:
            progress.node.watched_from_now()
            await progress.node.start(WORKER)
            progress.node.run_cron()
        await _count(stop, end, http, page, status, (collector, agent))
        if progress.node is not None:
            await progress.node.stop()
        exit_code = await agent.stop(STOP_PATIENCE)
        with contextlib.suppress(FileNotFoundError):
            progress.ledger = json.loads((state / "agent/ledger.json").read_text())
        if exit_code:
            raise DemoError(f"the agent ended with {exit_code}: {agent.last_words()}")
        if collector.ended:
            raise DemoError(f"the collector ended by itself: {collector.last_words()}")


async def _started(
    stack: contextlib.AsyncExitStack, http: aiohttp.ClientSession, part: str, settings: dict[str, Any], state: Path, url: str
) -> Child:
    """The part, once `url` answers 200; the stack ends it if it still runs."""
    child = await Child.start(part, settings, state)
    stack.push_async_callback(child.stop, STOP_PATIENCE)
    await _ready(child, http, url)
    return child


async def _ready(child: Child, http: aiohttp.ClientSession, url: str) -> None:
    """Returns when it answers 200. When it ended instead, its own exit code is the demo's where both mean the same."""
    deadline = time.monotonic() + READY_PATIENCE
    while time.monotonic() < deadline:
        if child.ended:
            code = child.process.returncode
            same = code if code in {report.UNAVAILABLE, report.NOT_ROOT} else report.BROKEN
            raise DemoError(f"the {child.part} ended with {code}: {child.last_words()}", same)
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with http.get(url) as answer:
                if answer.status == 200:
                    return
        await asyncio.sleep(0.1)
    raise DemoError(f"the {child.part} was not ready after {READY_PATIENCE:.0f} s: {child.last_words()}")


async def _count(
    stop: asyncio.Event,
    end: float | None,
    http: aiohttp.ClientSession,
    page: str,
    status: str,
    children: tuple[Child, Child],
) -> None:
    """Prints a line of counts again and again, until `stop`, or until `end` (monotonic seconds)."""
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
                raise DemoError(f"the {child.part} ended by itself with {child.process.returncode}: {child.last_words()}")
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
    """A place for settings, logs and the children's own state, for this demo alone; an earlier one's state is deleted first."""
    state.mkdir(parents=True, exist_ok=True)
    try:
        lock = claim(state)
    except BlockingIOError:
        raise DemoError(f"another demo runs in {state}; give this one another --state", report.UNAVAILABLE) from None
    for part in ("agent", "collector"):
        shutil.rmtree(state / part, ignore_errors=True)
        (state / part).mkdir()
    try:
        yield state.resolve()
    finally:
        if not keep:
            shutil.rmtree(state, ignore_errors=True)
        os.close(lock)


def _say(text: str, stream: TextIO | None = None) -> None:
    (stream or sys.stdout).write(f"forklore: {text}\n")
