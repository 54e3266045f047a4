// SPDX-License-Identifier: GPL-2.0-only
/* Fills the part of a fork's record that is read from the tasks. */
#pragma once
#include "read.h"
#include "records.h"

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
		__builtin_memset(to, 0xff, COMM);	/* unknown: a comm that was read ends with NUL */
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
