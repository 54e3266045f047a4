// SPDX-License-Identifier: GPL-2.0-only
/* The programs of layout 1 as version 0.1 had them, without their comments, in one file: an agent of today has to drain what they
 * have captured. Never change them. */
#include <linux/types.h>

#define UNKNOWN_32 0xffffffffu
#define UNKNOWN_64 0xffffffffffffffffull

#define CHAIN 8
#define BELOW 7
#define COMM 16
#define PATH 960

enum task_kind { PROCESS = 0, THREAD = 1 };
enum cgroup_event_kind { CREATED = 1, REMOVED = 2, ATTACHED = 3 };

struct config {
	u64 enabled;
	u64 threads;
	u64 storm_limit;
	u64 alive_until;
};

struct cgroup_attribution {
	u64 counted_in;
	u64 pod;
	u64 is_pod;
};

struct storm {
	u64 second;
	u64 count;
	u64 over;
	u64 since;
};

struct cgroup_counters {
	u64 processes;
	u64 threads;
	u64 emitted;
	u64 filtered;
	u64 suppressed;
	u64 lost;
	u64 entered;
};

struct cpu_counters {
	u64 sequence;
	u64 newtasks;
	u64 unpaired;
	u64 cgroup_events;
	u64 cgroup_events_lost;
	u64 orphaned;
};

struct task {
	u32 tid, ns_tid, pid, ns_pid;
	u64 start;
};

struct fork_record {
	u64 sequence;
	u64 time;
	u64 cgroup;
	u64 parent_cgroup;
	struct task child;
	u32 chain[BELOW];
	u16 cpu;
	u8 levels;
	u8 kind;
	u64 counted_in;

	struct task parent;
	struct task parent_process;
	struct task leader;
	u64 flags;
	char comm[COMM];
	char parent_comm[COMM];
	u32 uid, gid;
	u32 ns_pid, ns_mnt, ns_net, ns_user, ns_uts, ns_ipc, ns_cgroup;
	u32 unused;
};

struct cgroup_event {
	u64 cgroup;
	u64 parent;
	u64 time;
	u32 kind;
	u32 length;
	u64 sequence;
	u64 start;
	u32 tid;
	u32 unused;
	char path[PATH];
};

struct new_task {
	u64 task;
	u64 flags;
};

BPF_ARRAY(config, struct config, 1);
BPF_RINGBUF_OUTPUT(forks, RING_PAGES);
BPF_RINGBUF_OUTPUT(cgroup_events, CGROUP_EVENT_PAGES);
BPF_TABLE("hash", u64, struct cgroup_counters, cgroup_counters, MAX_CGROUPS);
BPF_PERCPU_ARRAY(cpu_counters, struct cpu_counters, 1);
BPF_TABLE("lru_hash", u32, struct new_task, new_tasks, 16384);
BPF_TABLE("hash", u64, struct cgroup_attribution, cgroup_attributions, MAX_CGROUPS);
BPF_TABLE("hash", u64, struct storm, storms, MAX_PODS);

#define READ(to, base, offset) bpf_probe_read_kernel(&(to), sizeof(to), (void *)((base) + (offset)))

#define READ_OR(to, base, offset, unknown) do { \
	if (!(base) || READ(to, base, offset)) \
		(to) = (unknown); \
} while (0)

static __always_inline u64 follow(u64 base, u64 offset)
{
	u64 to = 0;

	if (base)
		READ(to, base, offset);
	return to;
}

static __always_inline u64 cgroup_id(u64 cgroup)
{
	u64 id = 0;
	u64 node = follow(cgroup, OFF_cgroup__kn);

	if (node)
		READ(id, node, OFF_kernfs_node__id);
	return id;
}

static __always_inline u64 cgroup_of(u64 task)
{
	u64 set = follow(task, OFF_task_struct__cgroups);
#ifdef SUBSYS
	return cgroup_id(follow(follow(set, OFF_css_set__subsys + 8 * SUBSYS), OFF_cgroup_subsys_state__cgroup));
#else
	return cgroup_id(follow(set, OFF_css_set__dfl_cgrp));
#endif
}

static __always_inline bool is_chosen(u64 cgroup)
{
	u32 id = UNKNOWN_32;
	u64 root = follow(cgroup, OFF_cgroup__root);

	READ_OR(id, root, OFF_cgroup_root__hierarchy_id, UNKNOWN_32);
	return id == HIERARCHY;
}

static __always_inline u64 parent_id(u64 cgroup)
{
	u64 id = 0, node = follow(follow(cgroup, OFF_cgroup__kn), OFF_kernfs_node__parent);

	if (node)
		READ(id, node, OFF_kernfs_node__id);
	return id;
}

static __always_inline u32 innermost_number(u64 task)
{
	u32 level = 0, number = UNKNOWN_32;
	u64 pid = follow(task, OFF_task_struct__thread_pid);

	if (!pid || READ(level, pid, OFF_pid__level))
		return UNKNOWN_32;
	level &= 63;
	READ_OR(number, pid, OFF_pid__numbers + (u64)level * SIZE_upid + OFF_upid__nr, UNKNOWN_32);
	return number;
}

static __always_inline u32 inum(u64 ns, u64 offset)
{
	u32 number = 0;

	if (ns)
		READ(number, ns, offset + OFF_ns_common__inum);
	return number;
}

static __always_inline void fill_task(struct task *to, u64 task, u64 leader)
{
	READ_OR(to->tid, task, OFF_task_struct__pid, UNKNOWN_32);
	READ_OR(to->pid, task, OFF_task_struct__tgid, UNKNOWN_32);
	READ_OR(to->start, task, OFF_task_struct__start_boottime, UNKNOWN_64);
	to->ns_tid = innermost_number(task);
	to->ns_pid = leader == task ? to->ns_tid : innermost_number(leader);
}

static __always_inline void fill_comm(char *to, u64 task)
{
	if (bpf_probe_read_kernel(to, COMM, (void *)(task + OFF_task_struct__comm)))
		__builtin_memset(to, 0xff, COMM);
}

static __always_inline void fill_fork(struct fork_record *to, u64 parent, u64 child)
{
	u64 leader = follow(child, OFF_task_struct__group_leader);
	u64 parent_leader = follow(parent, OFF_task_struct__group_leader);
	u64 process = follow(follow(leader, OFF_task_struct__real_parent), OFF_task_struct__group_leader);
	u64 cred = follow(child, OFF_task_struct__cred);
	u64 proxy = follow(child, OFF_task_struct__nsproxy);
	u64 pid = follow(child, OFF_task_struct__thread_pid);
	u64 pid_ns = 0;
	u32 level = 0;

	fill_task(&to->child, child, leader);
	fill_task(&to->parent, parent, parent_leader);
	fill_task(&to->parent_process, process, process);
	if (leader == child)
		__builtin_memset(&to->leader, 0, sizeof(to->leader));
	else
		fill_task(&to->leader, leader, leader);

	__builtin_memset(to->chain, 0, sizeof(to->chain));
	to->levels = 0;
	if (pid && !READ(level, pid, OFF_pid__level)) {
		level &= 63;
		to->levels = level + 1;
#pragma unroll
		for (u32 i = 1; i < CHAIN; i++)
			if (i <= level)
				READ_OR(to->chain[i - 1], pid, OFF_pid__numbers + (u64)i * SIZE_upid + OFF_upid__nr, UNKNOWN_32);
		pid_ns = follow(pid, OFF_pid__numbers + (u64)level * SIZE_upid + OFF_upid__ns);
	}

	fill_comm(to->comm, child);
	fill_comm(to->parent_comm, parent);
	READ_OR(to->uid, cred, OFF_cred__euid, UNKNOWN_32);
	READ_OR(to->gid, cred, OFF_cred__egid, UNKNOWN_32);

	to->ns_pid = inum(pid_ns, OFF_pid_namespace__ns);
	to->ns_mnt = inum(follow(proxy, OFF_nsproxy__mnt_ns), OFF_mnt_namespace__ns);
	to->ns_net = inum(follow(proxy, OFF_nsproxy__net_ns), OFF_net__ns);
	to->ns_user = inum(follow(cred, OFF_cred__user_ns), OFF_user_namespace__ns);
	to->ns_uts = inum(follow(proxy, OFF_nsproxy__uts_ns), OFF_uts_namespace__ns);
	to->ns_ipc = inum(follow(proxy, OFF_nsproxy__ipc_ns), OFF_ipc_namespace__ns);
	to->ns_cgroup = inum(follow(proxy, OFF_nsproxy__cgroup_ns), OFF_cgroup_namespace__ns);
}

#define SECOND 1000000000ull
#define STORM_HOLD (5 * SECOND)

#define COUNT(number) __sync_fetch_and_add(&(number), 1)

static __always_inline struct cgroup_counters *counters_of(u64 *cgroup)
{
	struct cgroup_counters fresh = {}, *counters = cgroup_counters.lookup(cgroup);

	if (counters)
		return counters;
	cgroup_counters.insert(cgroup, &fresh);
	counters = cgroup_counters.lookup(cgroup);
	if (counters)
		return counters;
	*cgroup = 0;
	return cgroup_counters.lookup(cgroup);
}

static __always_inline bool is_suppressed(u64 pod, u64 limit, u64 now)
{
	struct storm fresh = {}, *storm = storms.lookup(&pod);
	u64 second = now / SECOND;

	if (!storm) {
		storms.insert(&pod, &fresh);
		storm = storms.lookup(&pod);
		if (!storm)
			return 0;
	}
	if (storm->second != second) {
		storm->second = second;
		storm->count = 0;
	}
	COUNT(storm->count);
	if (storm->count > limit) {
		if (!storm->over || (s64)(now - storm->over) > (s64)STORM_HOLD)
			storm->since = now;
		storm->over = now;
		return 1;
	}
	return storm->over && (s64)(now - storm->over) <= (s64)STORM_HOLD;
}

static __always_inline struct config *enabled_config(void)
{
	u32 first = 0;
	struct config *cfg = config.lookup(&first);

	return cfg && cfg->enabled ? cfg : 0;
}

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
	if (!counters)
		return 0;
	if (thread)
		COUNT(counters->threads);
	else
		COUNT(counters->processes);

	if (thread && !cfg->threads) {
		COUNT(counters->filtered);
		return 0;
	}

	if (pod && cfg->storm_limit && is_suppressed(pod, cfg->storm_limit, time)) {
		COUNT(counters->suppressed);
		return 0;
	}

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
	forks.ringbuf_submit(record, BPF_RB_NO_WAKEUP);
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
	cgroup_attributions.delete(&id);
	return emit_cgroup_event(ctx->args[0], ctx->args[1], 0, REMOVED);
}

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
