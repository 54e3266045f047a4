// SPDX-License-Identifier: GPL-2.0-only
/*
 * The programs that capture forks: each fork is counted, then written to a ring buffer. Compiled together with counters.c.
 *
 * README.md lists tracepoints, fields, the oldest kernel and the capabilities.
 */

#define STORM_HOLD (5 * SECOND)	/* a storm ends when it was below the limit for this long */
#define BUDGET_HOLD (10 * SECOND)	/* a container that was above its budget is only counted for this long */

#define SHARE 16	/* of what is free in the ring that one may take in a second when the ring is more than half full ... */
#define LEAST_SHARE 512	/* ... and the events that each may always send: who forks little loses nothing to this rule */
#define RECORD 256	/* with the ring's header */

/* BCC has no method for bpf_ringbuf_query. It rewrites map.ringbuf_output(data, size, flags), which is not used here, to a call
 * of bpf_ringbuf_output with the map before these: this makes it the query. A BCC that writes another call can't compile or load
 * that; then the loader leaves RING_QUERY out. */
#ifdef RING_QUERY
#define bpf_ringbuf_output(map, data, size, flags) bpf_ringbuf_query(map, flags)

static __always_inline u64 ring_fill(void)
{
	struct fork_record *none = 0;	/* BCC looks at its type */

	return forks.ringbuf_output(none, 0, BPF_RB_AVAIL_DATA);
}
#else
static __always_inline u64 ring_fill(void)
{
	return 0;
}
#endif

/* The events that one may send in this second. Above half of the ring it depends on what is free, as in a switch whose ports
 * share a buffer (Choudhury and Hahne, Dynamic queue length thresholds, 1998): who takes much leaves space for the others, and
 * their number need not be known. */
static __always_inline u64 share_of(u64 limit, u32 *reason)
{
	u64 size = RING_BYTES, filled = ring_fill(), share;

	*reason = LIMIT;
	if (filled <= size / 2)
		return limit;
	share = filled < size ? (size - filled) / (SHARE * RECORD) : 0;
	if (share < LEAST_SHARE)
		share = LEAST_SHARE;
	if (share >= limit)
		return limit;
	*reason = RING;
	return share;
}

/* Whether this event is suppressed. `of`: the pod, or the cgroup outside pods that counts it. It exceeds the storm limit or its
 * share of the ring, or it comes within STORM_HOLD of the last event that did. CPUs that begin a second at the same time may
 * reset some of each other's counts: the limit is approximate, the cgroup counters are exact. */
static __always_inline bool is_suppressed(u64 of, u64 limit, u64 now)
{
	struct storm fresh = {}, *storm = storms.lookup(&of);
	u32 second = now / SECOND, reason;

	if (!storm) {
		storms.insert(&of, &fresh);
		storm = storms.lookup(&of);
		if (!storm)	/* the map is full: no limit for this one */
			return 0;
	}
	if (storm->second != second) {
		storm->second = second;
		storm->count = 0;
	}
	COUNT(storm->count);
	if (storm->count > share_of(limit, &reason)) {
		if (!storm->over || (s64)(now - storm->over) > (s64)STORM_HOLD) {	/* another CPU's time may be later */
			storm->since = now;
			storm->reason = reason;
		}
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

/* args: struct task_struct *task, unsigned long clone_flags. Called for every new task, including those without
 * sched_process_fork (workers of io_uring and vhost). */
int on_newtask(struct bpf_raw_tracepoint_args *ctx)
{
	u32 first = 0, tid = bpf_get_current_pid_tgid();
	struct new_task new_task = { .task = ctx->args[0], .flags = ctx->args[1] };
	struct cpu_counters *cpu = cpu_counters.lookup(&first);
	struct config *cfg = enabled_config();

	if (!cpu || !cfg || bpf_ktime_get_boot_ns() > cfg->alive_until || base_level(cgroup_of(ctx->args[0])) == UNKNOWN_32)
		return 0;
	cpu->newtasks++;
	new_tasks.update(&tid, &new_task);
	return 0;
}

/* args: struct task_struct *parent, struct task_struct *child. */
int on_fork(struct bpf_raw_tracepoint_args *ctx)
{
	u32 first = 0, tid = bpf_get_current_pid_tgid(), pid = 0, tgid = 0, base;
	u64 parent = ctx->args[0], child = ctx->args[1], cgroup, id, counted_in, pod = 0, sequence, flags = UNKNOWN_64, time;
	struct config *cfg = enabled_config();
	struct tracked_cgroup *found;
	struct cpu_counters *cpu = cpu_counters.lookup(&first);
	struct cgroup_counters *counters;
	struct fork_record *record;
	struct new_task *new_task;
	bool thread;

	if (!cfg || !cpu)
		return 0;
	cgroup = cgroup_of(child);
	base = base_level(cgroup);
	if (base == UNKNOWN_32)
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
	id = cgroup_id(cgroup);
	found = tracked_of(cfg, cgroup, id, base);
	if (found) {
		counted_in = found->container;
		pod = found->pod;
	} else {
		counted_in = host_cgroup(cfg, cgroup, id, base);
	}

	counters = counters_of(&counted_in, pod != 0);
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

	if (cfg->storm_limit && is_suppressed(pod ? pod : counted_in, cfg->storm_limit, time)) {
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
	record->cgroup = id;
	record->counted_in = counted_in;
	record->parent_cgroup = cgroup_id(cgroup_of(parent));
	record->cpu = bpf_get_smp_processor_id();
	record->kind = thread ? THREAD : PROCESS;
	record->flags = flags;
	record->unused = 0;
	fill_fork(record, parent, child);
	COUNT(counters->emitted);
	forks.ringbuf_submit(record, BPF_RB_NO_WAKEUP);	/* the reader polls */
	return 0;
}
