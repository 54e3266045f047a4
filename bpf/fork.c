// SPDX-License-Identifier: GPL-2.0-only
/*
 * The BPF programs that capture forks: each fork is counted, then written to a ring buffer.
 *
 * BCC compiles this file on the node, without kernel headers. It rewrites map operations in this file only, not in the headers:
 * every function that uses a map is here. README.md lists tracepoints, fields, the oldest kernel and the capabilities.
 *
 * These programs know cgroups. User space decides which pod a cgroup belongs to.
 */
#include <linux/types.h>

#include "fill.h"
#include "maps.h"
#include "read.h"
#include "records.h"

#define SECOND 1000000000ull
#define STORM_HOLD (5 * SECOND)	/* a storm ends when its pod was below the limit for this long */
#define BUDGET_HOLD (10 * SECOND)	/* a container that was above its budget is only counted for this long */

#define COUNT(number) __sync_fetch_and_add(&(number), 1)

/* The cgroup's counters, created if needed. When the map is full they are those of `other`, and `cgroup` becomes 0: every fork
 * is counted somewhere. */
static __always_inline struct cgroup_counters *counters_of(u64 *cgroup)
{
	struct cgroup_counters fresh = {}, *counters = cgroup_counters.lookup(cgroup);

	if (counters)
		return counters;
	cgroup_counters.insert(cgroup, &fresh);	/* fails when another CPU was first, or when the map is full */
	counters = cgroup_counters.lookup(cgroup);
	if (counters)
		return counters;
	*cgroup = 0;
	return cgroup_counters.lookup(cgroup);
}

/* Whether this event of the pod is suppressed: it exceeds the storm limit, or it comes within STORM_HOLD of the last event that
 * did, while the pod is below the limit. CPUs that begin a second at the same time may reset some of each other's counts: the
 * limit is approximate, the cgroup counters are exact. */
static __always_inline bool is_suppressed(u64 pod, u64 limit, u64 now)
{
	struct storm fresh = {}, *storm = storms.lookup(&pod);
	u64 second = now / SECOND;

	if (!storm) {
		storms.insert(&pod, &fresh);
		storm = storms.lookup(&pod);
		if (!storm)	/* the map is full: no limit for this pod */
			return 0;
	}
	if (storm->second != second) {
		storm->second = second;
		storm->count = 0;
	}
	COUNT(storm->count);
	if (storm->count > limit) {
		if (!storm->over || (s64)(now - storm->over) > (s64)STORM_HOLD)	/* another CPU's time may be later */
			storm->since = now;
		storm->over = now;
		return 1;
	}
	return storm->over && (s64)(now - storm->over) <= (s64)STORM_HOLD;
}

static __always_inline bool is_over_budget(u64 counted_in, u64 now)
{
	struct over_budget *budget = over_budget.lookup(&counted_in);

	return budget && (s64)(now - budget->over) <= (s64)BUDGET_HOLD;
}

static __always_inline struct config *enabled_config(void)
{
	u32 first = 0;
	struct config *cfg = config.lookup(&first);

	return cfg && cfg->enabled ? cfg : 0;
}

/* args: struct task_struct *task, unsigned long clone_flags. Called for every new task, including those without
 * sched_process_fork (workers of io_uring and vhost). */
int on_newtask(struct bpf_raw_tracepoint_args *ctx)
{
	u32 first = 0, tid = bpf_get_current_pid_tgid();
	struct new_task new_task = { .task = ctx->args[0], .flags = ctx->args[1] };
	struct cpu_counters *cpu = cpu_counters.lookup(&first);
	struct config *cfg = enabled_config();

	if (!cpu || !cfg || bpf_ktime_get_boot_ns() > cfg->alive_until)
		return 0;
	cpu->newtasks++;
	new_tasks.update(&tid, &new_task);
	return 0;
}

/* args: struct task_struct *parent, struct task_struct *child. */
int on_fork(struct bpf_raw_tracepoint_args *ctx)
{
	u32 first = 0, tid = bpf_get_current_pid_tgid(), pid = 0, tgid = 0;
	u64 parent = ctx->args[0], child = ctx->args[1], cgroup, counted_in, pod = 0, sequence, flags = UNKNOWN_64, time;
	struct config *cfg = enabled_config();
	struct cgroup_attribution *attribution;
	struct cpu_counters *cpu = cpu_counters.lookup(&first);
	struct cgroup_counters *counters;
	struct fork_record *record;
	struct new_task *new_task;
	bool thread;

	if (!cfg || !cpu)
		return 0;

	time = bpf_ktime_get_boot_ns();
	new_task = new_tasks.lookup(&tid);
	if (new_task && new_task->task == child) {
		flags = new_task->flags;
		new_tasks.delete(&tid);
	} else {
		cpu->unpaired++;
	}
	if (time > cfg->alive_until) {
		cpu->orphaned++;
		return 0;
	}

	READ(pid, child, OFF_task_struct__pid);
	READ(tgid, child, OFF_task_struct__tgid);
	thread = pid != tgid;
	cgroup = cgroup_of(child);
	counted_in = cgroup;
	attribution = cgroup_attributions.lookup(&cgroup);
	if (attribution) {
		counted_in = attribution->counted_in;
		pod = attribution->pod;
	}

	counters = counters_of(&counted_in);
	if (!counters)	/* never: `other` exists before the start. The verifier requires the check */
		return 0;
	if (thread)
		COUNT(counters->threads);
	else
		COUNT(counters->processes);

	if (thread && !cfg->threads) {
		COUNT(counters->filtered);
		return 0;
	}

	if (is_over_budget(counted_in, time)) {
		COUNT(counters->suppressed);
		return 0;
	}

	if (pod && cfg->storm_limit && is_suppressed(pod, cfg->storm_limit, time)) {
		COUNT(counters->suppressed);
		return 0;
	}

	/* Numbered before the reserve: a missing number is a lost fork, and `sequence` shows the last ones. */
	sequence = cpu->sequence;
	cpu->sequence = sequence + 1;

	record = forks.ringbuf_reserve(sizeof(*record));
	if (!record) {
		COUNT(counters->lost);
		return 0;
	}
	record->sequence = sequence;
	record->time = time;
	record->cgroup = cgroup;
	record->counted_in = counted_in;
	record->parent_cgroup = cgroup_of(parent);
	record->cpu = bpf_get_smp_processor_id();
	record->kind = thread ? THREAD : PROCESS;
	record->flags = flags;
	record->unused = 0;
	fill_fork(record, parent, child);
	COUNT(counters->emitted);
	forks.ringbuf_submit(record, BPF_RB_NO_WAKEUP);	/* the reader polls */
	return 0;
}

static __always_inline int emit_cgroup_event(u64 cgroup, u64 path, u64 task, u32 kind)
{
	u32 first = 0;
	struct cpu_counters *cpu = cpu_counters.lookup(&first);
	struct cgroup_event *event;
	u64 sequence;

	if (!cpu)
		return 0;
	sequence = cpu->cgroup_events;
	cpu->cgroup_events = sequence + 1;
	event = cgroup_events.ringbuf_reserve(sizeof(*event));
	if (!event) {
		cpu->cgroup_events_lost++;
		return 0;
	}
	event->cgroup = cgroup_id(cgroup);
	event->parent = parent_id(cgroup);
	event->time = bpf_ktime_get_boot_ns();
	event->kind = kind;
	event->sequence = sequence;
	event->start = UNKNOWN_64;
	event->tid = UNKNOWN_32;
	event->unused = 0;
	READ_OR(event->start, task, OFF_task_struct__start_boottime, UNKNOWN_64);
	READ_OR(event->tid, task, OFF_task_struct__pid, UNKNOWN_32);
	event->path[0] = 0;
	event->length = bpf_probe_read_kernel_str(event->path, PATH, (void *)path);
	cgroup_events.ringbuf_submit(event, BPF_RB_NO_WAKEUP);
	return 0;
}

/* args of both: struct cgroup *cgrp, const char *path. They emit from the attach on, before `enabled`: user space walks the
 * hierarchy after the attach, so it misses no cgroup. */
int on_cgroup_mkdir(struct bpf_raw_tracepoint_args *ctx)
{
	u64 id, parent;
	struct cgroup_attribution *above, attribution;

	if (!is_chosen(ctx->args[0]))
		return 0;
	id = cgroup_id(ctx->args[0]);
	parent = parent_id(ctx->args[0]);
	above = cgroup_attributions.lookup(&parent);
	if (above) {
		attribution = *above;
		if (attribution.is_pod) {
			attribution.counted_in = id;
			attribution.is_pod = 0;
		}
		cgroup_attributions.update(&id, &attribution);
	}
	return emit_cgroup_event(ctx->args[0], ctx->args[1], 0, CREATED);
}

int on_cgroup_rmdir(struct bpf_raw_tracepoint_args *ctx)
{
	u64 id;

	if (!is_chosen(ctx->args[0]))
		return 0;
	id = cgroup_id(ctx->args[0]);
	cgroup_attributions.delete(&id);	/* it has no tasks */
	return emit_cgroup_event(ctx->args[0], ctx->args[1], 0, REMOVED);
}

/* args: struct cgroup *dst, const char *path, struct task_struct *leader, bool threadgroup. A runtime forks some of a container's
 * processes outside of it and moves them in. They are counted as `entered`, not as the container's forks; the event lets user
 * space name the container in the fork's event. */
int on_cgroup_attach(struct bpf_raw_tracepoint_args *ctx)
{
	struct config *cfg = enabled_config();
	struct cgroup_attribution *attribution;
	struct cgroup_counters *counters;
	u64 counted_in;

	if (!cfg || bpf_ktime_get_boot_ns() > cfg->alive_until || !is_chosen(ctx->args[0]))
		return 0;
	counted_in = cgroup_id(ctx->args[0]);
	attribution = cgroup_attributions.lookup(&counted_in);
	if (attribution)
		counted_in = attribution->counted_in;
	counters = counters_of(&counted_in);
	if (counters)
		COUNT(counters->entered);
	return emit_cgroup_event(ctx->args[0], ctx->args[1], ctx->args[2], ATTACHED);
}
