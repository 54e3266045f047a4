// SPDX-License-Identifier: GPL-2.0-only
/*
 * The probe: every fork of the node, counted first and then told.
 *
 * It is compiled by BCC on the node itself, without kernel headers. All that it knows of the kernel's structures comes in as
 * -D OFF_<struct>__<member>, read from the running kernel's BTF (agent/kernel/offsets.py). README.md beside this file lists
 * hooks, fields, kernel floor and capabilities; agent/kernel/records.py is the reader's side of the three structs below and
 * must say the same.
 *
 * Must not live here: any judgement about pods. The kernel knows cgroups; whose they are is user space's to say.
 */
#include <linux/types.h>

#define UNKNOWN_32 0xffffffffu	/* no pid, uid or gid has this number */
#define UNKNOWN_64 0xffffffffffffffffull

#define CHAIN 8			/* pid namespaces nest up to 32 deep; more than 8 is told as truncated */
#define BELOW 7			/* the host's number, the first of the chain, is child.tid */
#define SECOND 1000000000ull
#define STORM_HOLD (5 * SECOND)	/* a storm is over when its pod was below the limit for so long */
#define COMM 16			/* TASK_COMM_LEN */
#define PATH 960		/* the longest cgroup path that is carried whole */

enum kind { PROCESS = 0, THREAD = 1 };
enum change { CREATED = 1, REMOVED = 2, ATTACHED = 3 };

/* User space's words to the probe. One row, written whole. */
struct config {
	u64 enabled;		/* 0: count nothing, tell nothing (the moment between attach and start) */
	u64 threads;		/* 1: a thread is sent as an event too; it is counted either way */
	u64 storm_limit;	/* events a second of one pod above which it is only counted; 0: none */
	u64 alive_until;	/* boottime, ns: moved on by a living agent. Later than that the probe is an orphan and only counts */
};

/* Whose a cgroup is, as far as the kernel has to know: which row its forks are counted in, and which pod's limit holds for it.
 * User space marks the directories of pods; what is made below inherits, so that no container escapes its limit, or floods the
 * tally, by making cgroups. */
struct subject {
	u64 counted;		/* the container's cgroup id; the pod's own for what runs beside its containers */
	u64 pod;		/* the pod's cgroup id */
	u64 is_pod;		/* 1: the pod's own directory, whose children are containers */
};

/* One pod's events of the running second. Numbers for a decision, not for a report: those come from the tally. */
struct storm {
	u64 second;
	u64 count;
	u64 over;		/* boottime, ns, of the last event above the limit; 0: never */
	u64 since;		/* when the storm began that `over` belongs to */
};

/* Exact, monotonic, counted before anything can refuse. processes + threads = emitted + filtered + suppressed + lost. */
struct tally_row {
	u64 processes;
	u64 threads;
	u64 emitted;		/* handed to the ring */
	u64 filtered;		/* threads that nobody asked for */
	u64 suppressed;		/* held back by a storm limit */
	u64 lost;		/* the ring had no room */
	u64 entered;		/* processes that were moved into the cgroup after their fork */
};

/* Per CPU; no other CPU writes here. */
struct cpu_row {
	u64 sequence;		/* numbers given out: one for each fork that was to be sent, had it a place in the ring or not */
	u64 newtasks;		/* every task ever made, those without a fork event among them */
	u64 unpaired;		/* forks whose task_newtask came before the start */
	u64 changes;		/* cgroups that were born, died or were entered ... */
	u64 changes_lost;	/* ... and had no place in the ring: a new walk is due */
	u64 orphaned;		/* forks while no agent was alive: counted here and nowhere else */
};

/* clone's flags on their way from task_newtask to sched_process_fork: both run in the parent, one after the other. */
struct handoff {
	u64 child;
	u64 flags;
};

struct task {
	u32 tid, ns_tid, pid, ns_pid;
	u64 start;		/* start_boottime, ns */
};

/* 248 bytes, 256 with the ring's header: a power of two, so no record ever lies across the ring's end. From `parent` on it is
 * the same for all forks of one task: the reader decodes that part once a task, not once a fork. */
struct fork_record {
	u64 sequence;
	u64 time;		/* boottime, ns */
	u64 cgroup;		/* the child's */
	u64 parent_cgroup;
	struct task child;
	u32 chain[BELOW];	/* the child's number in each pid namespace below the host's, which is child.tid */
	u16 cpu;
	u8 levels;		/* how many numbers the chain has in truth, the host's included */
	u8 kind;
	u64 counted;		/* the row that it was counted in */

	struct task parent;
	struct task parent_process;
	struct task leader;	/* a thread's; all zero for a process, which is its own leader */
	u64 flags;
	char comm[COMM];
	char parent_comm[COMM];
	u32 uid, gid;
	u32 ns_pid, ns_mnt, ns_net, ns_user, ns_uts, ns_ipc, ns_cgroup;
	u32 unused;
};

/* 1016 bytes, 1024 with the ring's header. */
struct change_record {
	u64 cgroup;
	u64 parent;
	u64 time;
	u32 change;
	u32 length;		/* of the path, its NUL included; PATH means cut off */
	u64 sequence;		/* of this CPU's changes */
	u64 start;		/* ATTACHED: start_boottime and number of the task that came in: together no two tasks have them */
	u32 tid;
	u32 unused;
	char path[PATH];
};

BPF_ARRAY(config, struct config, 1);
BPF_RINGBUF_OUTPUT(forks, RING_PAGES);
BPF_RINGBUF_OUTPUT(changes, CHANGES_PAGES);
BPF_TABLE("hash", u64, struct tally_row, tally, TALLY_ROWS);	/* key 0: `other`, for when the table is full */
BPF_PERCPU_ARRAY(cpus, struct cpu_row, 1);
BPF_TABLE("lru_hash", u32, struct handoff, handoffs, 16384);
BPF_TABLE("hash", u64, struct subject, subjects, TALLY_ROWS);
BPF_TABLE("hash", u64, struct storm, storms, STORM_ROWS);

#define READ(to, base, offset) bpf_probe_read_kernel(&(to), sizeof(to), (void *)((base) + (offset)))
#define COUNT(number) __sync_fetch_and_add(&(number), 1)

/* A field whose structure is not there, or can't be read, is unknown, and never 0. */
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

/* In the chosen hierarchy only: ids are unique within a hierarchy, not across them. */
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
#ifdef SUBSYS	/* cgroup v1: the hierarchy that this controller is mounted in */
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

/* The row is there before anything is counted, or the count goes to `other`: no fork is left out of the sum. `key` says where it
 * went. */
static __always_inline struct tally_row *row_of(u64 *key)
{
	struct tally_row fresh = {}, *row = tally.lookup(key);

	if (row)
		return row;
	tally.insert(key, &fresh);	/* refused when another CPU was quicker, or when the table is full */
	row = tally.lookup(key);
	if (row)
		return row;
	*key = 0;
	return tally.lookup(key);
}

/* Whether this event of the pod is one too many. CPUs that begin a second at once may take some of each other's counts back: the
 * limit is a limit, not a measure. */
static __always_inline bool is_too_many(u64 pod, u64 limit, u64 now)
{
	struct storm fresh = {}, *storm = storms.lookup(&pod);
	u64 second = now / SECOND;

	if (!storm) {
		storms.insert(&pod, &fresh);
		storm = storms.lookup(&pod);
		if (!storm)	/* more pods than rows: no limit for this one */
			return 0;
	}
	if (storm->second != second) {
		storm->second = second;
		storm->count = 0;
	}
	COUNT(storm->count);
	if (storm->count > limit) {
		if (!storm->over || (s64)(now - storm->over) > (s64)STORM_HOLD)	/* another CPU's may be later than ours */
			storm->since = now;
		storm->over = now;
		return 1;
	}
	return storm->over && (s64)(now - storm->over) <= (s64)STORM_HOLD;
}

/* The task's number in the innermost pid namespace that it is in. */
static __always_inline u32 own_number(u64 task)
{
	u32 level = 0, number = UNKNOWN_32;
	u64 pid = follow(task, OFF_task_struct__thread_pid);	/* NULL in a task that is being reaped */

	if (!pid || READ(level, pid, OFF_pid__level))
		return UNKNOWN_32;
	level &= 63;
	READ_OR(number, pid, OFF_pid__numbers + (u64)level * SIZE_upid + OFF_upid__nr, UNKNOWN_32);
	return number;
}

static __always_inline void fill_task(struct task *to, u64 task, u64 leader)
{
	READ_OR(to->tid, task, OFF_task_struct__pid, UNKNOWN_32);
	READ_OR(to->pid, task, OFF_task_struct__tgid, UNKNOWN_32);
	READ_OR(to->start, task, OFF_task_struct__start_boottime, UNKNOWN_64);
	to->ns_tid = own_number(task);
	to->ns_pid = leader == task ? to->ns_tid : own_number(leader);
}

static __always_inline u32 inum(u64 ns, u64 offset)
{
	u32 number = 0;		/* no namespace has the number 0 */

	if (ns)
		READ(number, ns, offset + OFF_ns_common__inum);
	return number;
}

static __always_inline void fill_comm(char *to, u64 task)
{
	if (bpf_probe_read_kernel(to, COMM, (void *)(task + OFF_task_struct__comm)))
		__builtin_memset(to, 0xff, COMM);	/* a real one ends with NUL */
}

static __always_inline void fill(struct fork_record *to, u64 parent, u64 child)
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

static __always_inline struct config *active(void)
{
	u32 first = 0;
	struct config *now = config.lookup(&first);

	return now && now->enabled ? now : 0;
}

/* args: struct task_struct *task, unsigned long clone_flags. Sees every new task, also those that never reach the fork
 * tracepoint (io_uring and vhost workers). */
int on_newtask(struct bpf_raw_tracepoint_args *ctx)
{
	u32 first = 0, tid = bpf_get_current_pid_tgid();
	struct handoff handoff = { .child = ctx->args[0], .flags = ctx->args[1] };
	struct cpu_row *cpu = cpus.lookup(&first);
	struct config *now = active();

	if (!cpu || !now || bpf_ktime_get_boot_ns() > now->alive_until)
		return 0;
	cpu->newtasks++;
	handoffs.update(&tid, &handoff);
	return 0;
}

/* args: struct task_struct *parent, struct task_struct *child. */
int on_fork(struct bpf_raw_tracepoint_args *ctx)
{
	u32 first = 0, tid = bpf_get_current_pid_tgid(), pid = 0, tgid = 0;
	u64 parent = ctx->args[0], child = ctx->args[1], cgroup, counted, pod = 0, sequence, flags = UNKNOWN_64, time;
	struct config *now = active();
	struct subject *subject;
	struct cpu_row *cpu = cpus.lookup(&first);
	struct tally_row *row;
	struct fork_record *record;
	struct handoff *handoff;
	bool thread;

	if (!now || !cpu)
		return 0;

	time = bpf_ktime_get_boot_ns();
	handoff = handoffs.lookup(&tid);
	if (handoff && handoff->child == child) {
		flags = handoff->flags;
		handoffs.delete(&tid);
	} else {
		cpu->unpaired++;
	}
	if (time > now->alive_until) {
		cpu->orphaned++;
		return 0;
	}

	READ(pid, child, OFF_task_struct__pid);
	READ(tgid, child, OFF_task_struct__tgid);
	thread = pid != tgid;
	cgroup = cgroup_of(child);
	counted = cgroup;
	subject = subjects.lookup(&cgroup);
	if (subject) {
		counted = subject->counted;
		pod = subject->pod;
	}

	row = row_of(&counted);
	if (!row)	/* `other` is put there before the start; the verifier can't know */
		return 0;
	if (thread)
		COUNT(row->threads);
	else
		COUNT(row->processes);

	if (thread && !now->threads) {
		COUNT(row->filtered);
		return 0;
	}

	if (pod && now->storm_limit && is_too_many(pod, now->storm_limit, time)) {
		COUNT(row->suppressed);
		return 0;
	}

	/* The number is taken before the reserve: a hole in the numbers is a loss, and the last one shows in the head. */
	sequence = cpu->sequence;
	cpu->sequence = sequence + 1;

	record = forks.ringbuf_reserve(sizeof(*record));
	if (!record) {
		COUNT(row->lost);
		return 0;
	}
	record->sequence = sequence;
	record->time = time;
	record->cgroup = cgroup;
	record->counted = counted;
	record->parent_cgroup = cgroup_of(parent);
	record->cpu = bpf_get_smp_processor_id();
	record->kind = thread ? THREAD : PROCESS;
	record->flags = flags;
	record->unused = 0;
	fill(record, parent, child);
	COUNT(row->emitted);
	forks.ringbuf_submit(record, BPF_RB_NO_WAKEUP);	/* the reader comes by its own clock */
	return 0;
}

static __always_inline u64 parent_id(u64 cgroup)
{
	u64 id = 0, node = follow(follow(cgroup, OFF_cgroup__kn), OFF_kernfs_node__parent);

	if (node)
		READ(id, node, OFF_kernfs_node__id);
	return id;
}

static __always_inline int tell_change(u64 cgroup, u64 path, u64 task, u32 change)
{
	u32 first = 0;
	struct cpu_row *cpu = cpus.lookup(&first);
	struct change_record *record;
	u64 sequence;

	if (!cpu)
		return 0;
	sequence = cpu->changes;
	cpu->changes = sequence + 1;
	record = changes.ringbuf_reserve(sizeof(*record));
	if (!record) {
		cpu->changes_lost++;
		return 0;
	}
	record->cgroup = cgroup_id(cgroup);
	record->parent = parent_id(cgroup);
	record->time = bpf_ktime_get_boot_ns();
	record->change = change;
	record->sequence = sequence;
	record->start = UNKNOWN_64;
	record->tid = UNKNOWN_32;
	record->unused = 0;
	READ_OR(record->start, task, OFF_task_struct__start_boottime, UNKNOWN_64);
	READ_OR(record->tid, task, OFF_task_struct__pid, UNKNOWN_32);
	record->path[0] = 0;
	record->length = bpf_probe_read_kernel_str(record->path, PATH, (void *)path);
	changes.ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	return 0;
}

/* args of both: struct cgroup *cgrp, const char *path. They tell from the attach on, before `enabled`, so that the walk that
 * follows the attach misses nothing. */
int on_cgroup_mkdir(struct bpf_raw_tracepoint_args *ctx)
{
	u64 id, parent;
	struct subject *above, subject;

	if (!is_chosen(ctx->args[0]))
		return 0;
	id = cgroup_id(ctx->args[0]);
	parent = parent_id(ctx->args[0]);
	above = subjects.lookup(&parent);
	if (above) {
		subject = *above;
		if (subject.is_pod) {
			subject.counted = id;
			subject.is_pod = 0;
		}
		subjects.update(&id, &subject);
	}
	return tell_change(ctx->args[0], ctx->args[1], 0, CREATED);
}

int on_cgroup_rmdir(struct bpf_raw_tracepoint_args *ctx)
{
	u64 id;

	if (!is_chosen(ctx->args[0]))
		return 0;
	id = cgroup_id(ctx->args[0]);
	subjects.delete(&id);	/* nobody can fork in it any more */
	return tell_change(ctx->args[0], ctx->args[1], 0, REMOVED);
}

/* args: struct cgroup *dst, const char *path, struct task_struct *leader, bool threadgroup. A runtime forks some of a container's
 * processes outside of it and moves them in: counted as entered, apart from the container's forks, and told so that the fork's
 * event can name the container after all. */
int on_cgroup_attach(struct bpf_raw_tracepoint_args *ctx)
{
	struct config *now = active();
	struct subject *subject;
	struct tally_row *row;
	u64 counted;

	if (!now || bpf_ktime_get_boot_ns() > now->alive_until || !is_chosen(ctx->args[0]))
		return 0;
	counted = cgroup_id(ctx->args[0]);
	subject = subjects.lookup(&counted);
	if (subject)
		counted = subject->counted;
	row = row_of(&counted);
	if (row)
		COUNT(row->entered);
	return tell_change(ctx->args[0], ctx->args[1], ctx->args[2], ATTACHED);
}

_Static_assert(sizeof(struct fork_record) == 248, "agent/kernel/records.py says FORK_SLOT = 256");
_Static_assert(sizeof(struct change_record) == 1016, "agent/kernel/records.py says CHANGE_SLOT = 1024");
_Static_assert(sizeof(struct tally_row) == 56 && sizeof(struct cpu_row) == 48, "agent/kernel/records.py has seven and six");
_Static_assert(sizeof(struct config) == 32 && sizeof(struct subject) == 24 && sizeof(struct storm) == 32, "agent/kernel/records.py");
