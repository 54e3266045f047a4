// SPDX-License-Identifier: GPL-2.0-only
/* The programs' maps and ring buffers. */
#pragma once
#include "records.h"

/* Passes clone's flags from task_newtask to sched_process_fork: both run in the parent, one after the other. */
struct new_task {
	u64 task;
	u64 flags;
};

BPF_ARRAY(config, struct config, 1);
BPF_RINGBUF_OUTPUT(forks, RING_PAGES);
BPF_RINGBUF_OUTPUT(cgroup_events, CGROUP_EVENT_PAGES);
BPF_TABLE("hash", u64, struct tracked_cgroup, tracked, MAX_TRACKED);
/* Two maps, so that cgroups outside pods never take a pod's place. Twice as many counters as tracked cgroups: those of a removed
 * cgroup stay until they have been reported. Key 0 of host_counters: `other`, used when the map is full. */
BPF_TABLE("hash", u64, struct cgroup_counters, pod_counters, 2 * MAX_TRACKED);
BPF_TABLE("hash", u64, struct cgroup_counters, host_counters, MAX_HOST_CGROUPS);
BPF_PERCPU_ARRAY(cpu_counters, struct cpu_counters, 1);
BPF_TABLE("lru_hash", u32, struct new_task, new_tasks, 16384);
/* A pod's, or a cgroup's that has host_counters: neither takes the other's place. */
BPF_TABLE("hash", u64, struct storm, storms, MAX_TRACKED + MAX_HOST_CGROUPS);
BPF_TABLE("hash", u64, struct over_budget, over_budget, MAX_TRACKED + MAX_HOST_CGROUPS);
/* Of the cgroups that have counters. A new window is made in place of the one that was not used for the longest. */
BPF_TABLE("lru_hash", u64, struct attach_window, attach_windows, MAX_TRACKED + MAX_HOST_CGROUPS);
