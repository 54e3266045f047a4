// SPDX-License-Identifier: GPL-2.0-only
/* Reads the kernel's structures, at the offsets from its BTF (agent/kernel/offsets.py): -D OFF_<struct>__<member>. */
#pragma once
#include "records.h"

#define READ(to, base, offset) bpf_probe_read_kernel(&(to), sizeof(to), (void *)((base) + (offset)))

/* A field that cannot be read is unknown, never 0. */
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

/* Call it for the chosen hierarchy only: ids are unique within one hierarchy. */
static __always_inline u64 cgroup_id(u64 cgroup)
{
	u64 id = 0;
	u64 node = follow(cgroup, OFF_cgroup__kn);

	if (node)
		READ(id, node, OFF_kernfs_node__id);
	return id;
}

/* The address of the task's struct cgroup in the chosen hierarchy. */
static __always_inline u64 cgroup_of(u64 task)
{
	u64 set = follow(task, OFF_task_struct__cgroups);
#ifdef SUBSYS	/* cgroup v1: the hierarchy that this controller is mounted in */
	return follow(follow(set, OFF_css_set__subsys + 8 * SUBSYS), OFF_cgroup_subsys_state__cgroup);
#else
	return follow(set, OFF_css_set__dfl_cgrp);
#endif
}

/* How deep a cgroup is; the hierarchy's root has level 0. */
static __always_inline u32 level_of(u64 cgroup)
{
	u32 level = 0;

	READ_OR(level, cgroup, OFF_cgroup__level, 0);
	return level;
}

/* The id of the cgroup's ancestor at `level`, which must not be greater than its own. */
static __always_inline u64 ancestor_id(u64 cgroup, u64 level)
{
#ifdef OFF_cgroup__ancestors	/* since 6.1: struct cgroup *ancestors[] */
	return cgroup_id(follow(cgroup, OFF_cgroup__ancestors + 8 * level));
#else				/* before: u64 ancestor_ids[] */
	return follow(cgroup, OFF_cgroup__ancestor_ids + 8 * level);
#endif
}

/* Where the node is a container, user space sees a part of the hierarchy only, and PART is the id of its root: its level, from
 * which user space counts. UNKNOWN_32: the cgroup is outside of it. Runtimes nest nodes a few levels deep. */
#ifdef PART
#define DEEPEST_PART 16
static __always_inline u32 base_level(u64 cgroup)
{
	u32 level = level_of(cgroup);

#pragma unroll
	for (u32 at = 0; at < DEEPEST_PART; at++) {
		if (at > level)
			break;
		if (ancestor_id(cgroup, at) == PART)
			return at;
	}
	return UNKNOWN_32;
}
#else
#define base_level(cgroup) 0
#endif

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

#define NAME 128	/* bytes of a directory's name that are read; longer than any of the kubelet's */

/* Whether a child of the kubelet's root is a QoS class and no pod: `burstable`, `besteffort`, or a slice that ends with
 * `-burstable.slice` or `-besteffort.slice`. User space decides it again by the whole path. */
static __always_inline bool is_qos_class(u64 cgroup)
{
	char name[NAME] = {};
	u64 node = follow(cgroup, OFF_cgroup__kn), text = follow(node, OFF_kernfs_node__name);
	long length = bpf_probe_read_kernel_str(name, NAME, (void *)text);	/* with its NUL */

	if (name[0] == 'b')
		return (name[1] == 'u' && length == sizeof("burstable")) || (name[1] == 'e' && length == sizeof("besteffort"));
	if (length < 24 || length > NAME)
		return 0;
	u32 burstable = (length - sizeof("-burstable.slice")) & (NAME - 1);
	u32 besteffort = (length - sizeof("-besteffort.slice")) & (NAME - 1);

	return (name[burstable] == '-' && name[(burstable + 1) & (NAME - 1)] == 'b' && name[(burstable + 2) & (NAME - 1)] == 'u') ||
	       (name[besteffort] == '-' && name[(besteffort + 1) & (NAME - 1)] == 'b' && name[(besteffort + 2) & (NAME - 1)] == 'e');
}

/* The task's number in its innermost pid namespace. */
static __always_inline u32 innermost_number(u64 task)
{
	u32 level = 0, number = UNKNOWN_32;
	u64 pid = follow(task, OFF_task_struct__thread_pid);	/* NULL in a task that is being reaped */

	if (!pid || READ(level, pid, OFF_pid__level))
		return UNKNOWN_32;
	level &= 63;
	READ_OR(number, pid, OFF_pid__numbers + (u64)level * SIZE_upid + OFF_upid__nr, UNKNOWN_32);
	return number;
}

static __always_inline u32 inum(u64 ns, u64 offset)
{
	u32 number = 0;		/* no namespace has the number 0 */

	if (ns)
		READ(number, ns, offset + OFF_ns_common__inum);
	return number;
}
