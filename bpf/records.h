// SPDX-License-Identifier: GPL-2.0-only
/* The structs and constants that user space needs too. agent/kernel/records.py declares the same; a test compares the two. */
#pragma once
#include <linux/types.h>

#define UNKNOWN_32 0xffffffffu	/* no pid, uid or gid has this number */
#define UNKNOWN_64 0xffffffffffffffffull

#define CHAIN 8			/* pid namespaces nest up to 32 deep; a chain of more than 8 numbers is truncated */
#define BELOW 7			/* numbers below the host's, which is child.tid */
#define COMM 16			/* TASK_COMM_LEN */
#define PATH 960		/* bytes of a cgroup path; a longer one is cut off */

enum task_kind { PROCESS = 0, THREAD = 1 };
enum cgroup_event_kind { CREATED = 1, REMOVED = 2, ATTACHED = 3 };

/* Written by user space, always whole; on_cgroup_rmdir resets `pod_level`. */
struct config {
	u64 enabled;		/* 0: count and send nothing (between attach and start) */
	u64 threads;		/* 1: a thread is sent as an event too; it is counted either way */
	u64 storm_limit;	/* events of one pod, or of one cgroup outside pods, in a second; more are only counted. 0: no limit */
	u64 alive_until;	/* boottime, ns: extended by a running agent. Later forks are only counted, as `orphaned` */
	u64 pod_level;		/* the deepest level of pods' cgroups, from PART on: two below the kubelet's root. 0: it is not known */
};

/* The kubelet's root and its QoS classes (whose children are pods), pods, and their containers: nothing deeper, nothing else.
 * Written by user space, and by on_cgroup_mkdir for a child of a tracked cgroup. */
enum tracked_kind { KUBELET_ROOT = 1, QOS_CLASS = 2, POD = 3, CONTAINER = 4 };

struct tracked_cgroup {
	u64 container;		/* the cgroup whose counters count: itself */
	u64 pod;		/* the pod's cgroup id, whose storm limit applies */
	u32 kind;
	u32 children;		/* of a pod: cgroups below it that are tracked */
	u32 records;		/* of cgroups inside it: created or removed, and written to the ring */
	u32 unused;
	u64 folded;		/* created inside it, without a record */
};

#define MAX_CHILDREN 256	/* tracked cgroups of one pod; further ones count as the pod's own */
#define MAX_RECORDS 64		/* of the cgroups inside one container */
#define MAX_ATTACHED 64		/* records of tasks attached to one container, or outside pods, in a second */

/* Tasks that were attached in the current second, by the cgroup whose counters count them. */
struct attach_window {
	u64 second;
	u64 records;		/* written to the ring */
	u64 folded;		/* in all seconds: counted, without a record */
};

enum storm_reason { LIMIT = 0, RING = 1 };

/* The events of one pod, or of one cgroup outside pods, in the current second. Used to apply the limit only: reports use the
 * cgroup counters. */
struct storm {
	u32 second;
	u32 reason;		/* of the storm that `over` belongs to; 0 in what 0.1 wrote */
	u64 count;
	u64 over;		/* boottime, ns, of the last event above the limit; 0: never */
	u64 since;		/* boottime, ns: start of the storm that `over` belongs to */
};

/* Written by user space: a container whose forks cost the agent too much, by the cgroup that counts them. */
struct over_budget {
	u64 over;		/* boottime, ns, when it was last above its budget */
	u64 since;		/* boottime, ns: since when */
};

/* Exact and monotonic; counted before a fork can be dropped. processes + threads = emitted + filtered + suppressed + lost. */
struct cgroup_counters {
	u64 processes;
	u64 threads;
	u64 emitted;		/* written to the ring */
	u64 filtered;		/* threads, unless config.threads is 1 */
	u64 suppressed;		/* above the storm limit, or of a container above its budget */
	u64 lost;		/* the ring was full */
	u64 entered;		/* processes attached to the cgroup after their fork (named as on the wire) */
};

/* Per CPU; no other CPU writes here. */
struct cpu_counters {
	u64 sequence;		/* the next fork's number; lost forks have numbers, too */
	u64 newtasks;		/* all new tasks, including those without sched_process_fork */
	u64 unpaired;		/* forks whose task_newtask came before the start */
	u64 cgroup_events;	/* cgroups created, removed or attached to ... */
	u64 cgroup_events_lost;	/* ... and dropped because their ring was full: user space walks the hierarchy again */
	u64 orphaned;		/* forks while no agent was running: counted here and nowhere else */
};

struct task {
	u32 tid, ns_tid, pid, ns_pid;
	u64 start;		/* start_boottime, ns */
};

/* 248 bytes, 256 with the ring's header: a power of two, so no record crosses the ring's end. The part from `parent` on is
 * equal for all forks of one task: the reader decodes it once per task. */
struct fork_record {
	u64 sequence;
	u64 time;		/* boottime, ns */
	u64 cgroup;		/* the child's */
	u64 parent_cgroup;
	struct task child;
	u32 chain[BELOW];	/* the child's number in each pid namespace below the host's, which is child.tid */
	u16 cpu;
	u8 levels;		/* numbers in the whole chain, the host's included */
	u8 kind;
	u64 counted_in;		/* the cgroup whose counters it is in; 0: `other` */

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
struct cgroup_event {
	u64 cgroup;
	u64 parent;		/* of a cgroup inside a container: the container */
	u64 time;
	u32 kind;
	u32 length;		/* of the path, its NUL included; PATH means cut off */
	u64 sequence;		/* of this CPU's cgroup events */
	u64 start;		/* ATTACHED: start_boottime of the attached task; unique together with its tid */
	u32 tid;
	u32 base;		/* the level of PART: so many names at the front of the path are above it. 0: the hierarchy is whole */
	char path[PATH];
};

/* The sizes of agent/kernel/records.py. */
_Static_assert(sizeof(struct fork_record) == 248, "FORK_SLOT is 256");
_Static_assert(sizeof(struct cgroup_event) == 1016, "CGROUP_EVENT_SLOT is 1024");
_Static_assert(sizeof(struct cgroup_counters) == 56 && sizeof(struct cpu_counters) == 48, "seven and six counters");
_Static_assert(sizeof(struct config) == 40 && sizeof(struct tracked_cgroup) == 40 && sizeof(struct storm) == 32 &&
	       sizeof(struct over_budget) == 16 && sizeof(struct attach_window) == 24, "map values");
