// SPDX-License-Identifier: GPL-2.0-only
/* The programs that follow cgroups: created, removed, attached to. Compiled together with counters.c. */

static __always_inline int emit_cgroup_event(u64 cgroup, u64 parent, u64 path, u64 task, u32 kind, u32 base)
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
	event->parent = parent;
	event->time = bpf_ktime_get_boot_ns();
	event->kind = kind;
	event->sequence = sequence;
	event->start = UNKNOWN_64;
	event->tid = UNKNOWN_32;
	event->base = base;
	READ_OR(event->start, task, OFF_task_struct__start_boottime, UNKNOWN_64);
	READ_OR(event->tid, task, OFF_task_struct__pid, UNKNOWN_32);
	event->path[0] = 0;
	event->length = bpf_probe_read_kernel_str(event->path, PATH, (void *)path);
	cgroup_events.ringbuf_submit(event, BPF_RB_NO_WAKEUP);
	return 0;
}

/* Whether a change inside a container is written to the ring: the first MAX_RECORDS of each container are. */
static __always_inline bool is_recorded(struct tracked_cgroup *owner)
{
	if (owner->records >= MAX_RECORDS)
		return 0;
	COUNT(owner->records);
	return 1;
}

/* Whether an attached task is written to the ring: MAX_ATTACHED in a second are, of those that one cgroup's counters count. A
 * task may move itself to and fro without end. CPUs that begin a second at the same time may reset some of each other's counts. */
static __always_inline bool is_attach_recorded(u64 counted_in, u64 now)
{
	struct attach_window fresh = {}, *window = attach_windows.lookup(&counted_in);
	u64 second = now / SECOND;

	if (!window) {
		attach_windows.insert(&counted_in, &fresh);
		window = attach_windows.lookup(&counted_in);
		if (!window)
			return 1;
	}
	if (window->second != second) {
		window->second = second;
		window->records = 0;
	}
	if (window->records >= MAX_ATTACHED) {
		COUNT(window->folded);
		return 0;
	}
	COUNT(window->records);
	return 1;
}

/* Tracks a new cgroup when its parent is a pod or what pods are below. False: it is inside a container, or outside pods. */
static __always_inline bool track_child(u64 cgroup, u64 id, u64 parent)
{
	struct tracked_cgroup *above = tracked.lookup(&parent), child = { .container = id, .pod = id, .kind = POD };

	if (!above || above->kind == CONTAINER)
		return 0;
	if (above->kind == POD) {
		if (above->children >= MAX_CHILDREN)
			return 0;
		COUNT(above->children);
		child.pod = above->pod;
		child.kind = CONTAINER;
	} else if (above->kind == KUBELET_ROOT && is_qos_class(cgroup)) {
		child.kind = QOS_CLASS;
	}
	tracked.update(&id, &child);
	return 1;
}

/* args of both: struct cgroup *cgrp, const char *path. They emit from the attach on, before `enabled`: user space walks the
 * hierarchy after the attach, so it misses no cgroup. */
int on_cgroup_mkdir(struct bpf_raw_tracepoint_args *ctx)
{
	u32 first = 0, base;
	u64 cgroup = ctx->args[0], id, parent;
	struct config *cfg = config.lookup(&first);
	struct tracked_cgroup *owner;

	if (!cfg || !is_chosen(cgroup))
		return 0;
	base = base_level(cgroup);
	if (base == UNKNOWN_32)
		return 0;
	id = cgroup_id(cgroup);
	parent = parent_id(cgroup);
	if (!track_child(cgroup, id, parent)) {
		owner = tracked_of(cfg, cgroup, id, base);
		if (owner) {
			if (!is_recorded(owner)) {
				COUNT(owner->folded);
				return 0;
			}
			parent = owner->container;
		}
	}
	return emit_cgroup_event(cgroup, parent, ctx->args[1], 0, CREATED, base);
}

int on_cgroup_rmdir(struct bpf_raw_tracepoint_args *ctx)
{
	u32 first = 0, base;
	u64 cgroup = ctx->args[0], id, pod;
	struct config *cfg = config.lookup(&first);
	struct tracked_cgroup *found;

	if (!cfg || !is_chosen(cgroup))
		return 0;
	base = base_level(cgroup);
	if (base == UNKNOWN_32)
		return 0;
	id = cgroup_id(cgroup);
	attach_windows.delete(&id);
	found = tracked.lookup(&id);
	if (found) {
		pod = found->pod;
		if (found->kind == KUBELET_ROOT)
			cfg->pod_level = 0;	/* the next root's pods count for themselves until user space has tracked it */
		tracked.delete(&id);	/* it has no tasks */
		found = tracked.lookup(&pod);
		if (found && found->children)
			__sync_fetch_and_add(&found->children, -1);
	} else {
		found = tracked_of(cfg, cgroup, id, base);
		if (found && !is_recorded(found))
			return 0;	/* user space removes it together with its container */
	}
	return emit_cgroup_event(cgroup, parent_id(cgroup), ctx->args[1], 0, REMOVED, base);
}

/* args: struct cgroup *dst, const char *path, struct task_struct *leader, bool threadgroup. A runtime forks some of a container's
 * processes outside of it and moves them in. They are counted as `entered`, not as the container's forks; the event lets user
 * space name the container in the fork's event. */
int on_cgroup_attach(struct bpf_raw_tracepoint_args *ctx)
{
	struct config *cfg = enabled_config();
	struct tracked_cgroup *found;
	struct cgroup_counters *counters;
	u64 cgroup = ctx->args[0], id, counted_in, parent, now = bpf_ktime_get_boot_ns();
	bool recorded;
	u32 base;

	if (!cfg || now > cfg->alive_until || !is_chosen(cgroup))
		return 0;
	base = base_level(cgroup);
	if (base == UNKNOWN_32)
		return 0;
	id = cgroup_id(cgroup);
	found = tracked_of(cfg, cgroup, id, base);
	counted_in = found ? found->container : host_cgroup(cfg, cgroup, id, base);
	parent = found && counted_in != id ? counted_in : parent_id(cgroup);
	recorded = is_attach_recorded(counted_in, now);
	counters = counters_of(&counted_in, found != 0);
	if (counters)
		COUNT(counters->entered);
	if (!recorded)
		return 0;
	return emit_cgroup_event(cgroup, parent, ctx->args[1], ctx->args[2], ATTACHED, base);
}
