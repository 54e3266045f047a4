"""The start of an agent: its parts are opened from the settings, and what the agent before left is restored."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from functools import partial
from typing import Final

from agent.attribution.hierarchy import Hierarchy
from agent.attribution.metadata_cache import MetadataCache
from agent.attribution.pods import Pods
from agent.attribution.pods.watch import PodWatch
from agent.interfaces import Clock
from agent.journal import Journal
from agent.kernel.capture import Capture
from agent.kernel.clock import WallClock
from agent.lifecycle.build import build_sink, requested_annotations
from agent.lifecycle.closed_instances import ClosedInstances
from agent.lifecycle.loop import keep_alive
from agent.lifecycle.parts import Options, Parts, StreamParts
from agent.lifecycle.recovery import recover_instances
from agent.lifecycle.sink_changes import begin_new_sinks, end_removed_sinks
from agent.model import NO_CGROUP
from agent.pipeline import Pipeline
from agent.program_instance import ProgramInstance
from agent.reporting.reporter import AgentIdentity, Reporter
from agent.settings import Settings
from agent.sinks.encoders.times import Rfc3339
from agent.state_records import CLOCK, ClockRecord
from wire import VERSION

__all__ = ["MOST_WAITING", "open_parts", "start"]

log = logging.getLogger(__name__)

MOST_WAITING: Final = 50_000  # forks that may wait for their pods: 15 MB of raw records


def open_parts(
    settings: Settings,
    hierarchy: Hierarchy,
    capture: Capture,
    journal: Journal,
    clock: Clock,
    *,
    boot_id: str,
    most_waiting: int = MOST_WAITING,
) -> Parts:
    """`capture` is attached, `journal` is open. Nothing is read from either yet."""
    kubernetes, annotations = settings.kubernetes, requested_annotations(settings.sinks)
    options = Options(
        settings.capture.summary_interval,
        settings.capture.threads,
        settings.capture.storm_limit,
        settings.capture.keep,
        settings.capture.pin,
        annotations,
        tuple(kubernetes.sandboxes),
        settings.state_dir,
    )
    wall_time, rfc3339 = WallClock(clock.separation_ns()), Rfc3339()
    cache = MetadataCache(hierarchy.root, annotations, api=kubernetes.enabled, kubelet_root=kubernetes.kubelet_cgroup_root)
    watch = _pod_watch(settings, cache.pods, annotations) if kubernetes.enabled else None
    sinks = tuple(build_sink(one, journal, settings.cluster, settings.node, annotations) for one in settings.sinks)
    wait_ns = int(kubernetes.wait * 1e9) if kubernetes.enabled else 0
    limits = {"limit": options.storm_limit, "ring": options.storm_limit, "uniqueness": settings.capture.uniqueness_limit}
    streams = StreamParts(settings.cluster, settings.node, wall_time, wait_ns, most_waiting, limits, cache)
    instances: list[ProgramInstance] = []
    pipeline = Pipeline(clock, wall_time, boot_id, instances, cache, sinks, journal)
    identity = AgentIdentity(settings.node, settings.cluster, VERSION, os.uname().release, rfc3339(clock.wall_ns()))
    reporter = Reporter(identity, clock, capture, pipeline, cache, watch, journal)
    return Parts(
        options,
        clock,
        wall_time,
        boot_id,
        capture,
        journal,
        cache,
        watch,
        sinks,
        streams,
        instances,
        ClosedInstances(journal, streams.summaries),
        pipeline,
        reporter,
        rfc3339,
    )


def _pod_watch(settings: Settings, pods: Pods, annotations: Sequence[str]) -> PodWatch:
    kubernetes = settings.kubernetes
    return PodWatch(pods, settings.node, kubernetes.kubeconfig, annotations, strict_x509=kubernetes.strict_x509)


def start(parts: Parts) -> None:
    """What the agent before left is restored first; then capture begins, or goes on."""
    journal, cache = parts.journal, parts.metadata_cache
    clock_record = journal.table(CLOCK).get(parts.boot_id)
    same_boot = clock_record is not None
    if clock_record is not None:
        parts.wall_time.restore(ClockRecord.decode(clock_record), parts.clock.boot_ns())
    cache.restore(journal, parts.clock.monotonic_s(), cgroups=same_boot)
    for sink in parts.sinks:
        sink.restore(journal)
    for programs in (parts.capture.current, *parts.capture.former):
        instance = parts.streams.instance(programs, parts.capture.current, parts.wall())
        unsaved = instance.restore(journal)
        instance.summaries.raise_number(parts.clock.wall_ns() // 10**9)  # less than one number a second was used
        for sink in parts.sinks if unsaved else ():
            sink.account(instance.stream).lose("journal_failed", {NO_CGROUP: unsaved})
        parts.instances.append(instance)
    cache.walk(parts.capture.current, parts.clock.boot_ns())
    if cache.cgroups.unread:
        log.warning("%d cgroups or more inside containers are counted for their container only", cache.cgroups.unread)
    keep_alive(parts)
    parts.reporter.capturing = True
    end_removed_sinks(journal, parts.sinks)
    begin_new_sinks(journal, parts.sinks, parts.instances)
    recover_instances(parts, same_boot=same_boot)
    journal.clear(CLOCK)
    parts.pipeline.stage(everything=True)
    journal.rewrite = partial(parts.pipeline.stage, everything=True)
    if parts.capture.unpinned and parts.options.pin:
        log.warning("capture will not outlive this agent: %s", parts.capture.unpinned)
    how = "taken over" if parts.capture.taken_over else "new"
    log.info("capturing: %s, program instance %s (%s)", cache.root, parts.capture.current.meta.instance_id, how)
