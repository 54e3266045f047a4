// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which counters count a cgroup's forks: those of its container or pod, or of a cgroup outside pods.
 *
 * BCC compiles counters.c, cgroups.c and fork.c as one text, in this order, on the node and without kernel headers. It rewrites
 * map operations in these files only, not in the headers: every function that uses a map is here.
 *
 * These programs know cgroups. User space decides which pod a cgroup belongs to.
 */
#include <linux/types.h>

#include "fill.h"
#include "maps.h"
#include "read.h"
#include "records.h"

#define HOST_LEVEL 2
#define SECOND 1000000000ull

#define COUNT(number) __sync_fetch_and_add(&(number), 1)

static __always_inline struct config *enabled_config(void)
{
	u32 first = 0;
	struct config *cfg = config.lookup(&first);

	return cfg && cfg->enabled ? cfg : 0;
}

/* The container or pod that a cgroup is in: by at most three lookups, of itself, and of its ancestors at the levels of
 * containers and of pods. NULL: it is outside pods. `id`: the cgroup's; `base`: its base_level. */
static __always_inline struct tracked_cgroup *tracked_of(struct config *cfg, u64 cgroup, u64 id, u32 base)
{
	struct tracked_cgroup *found = tracked.lookup(&id);
	u64 level, above, pod_level = cfg->pod_level + base;

	if (found)
		return found->kind >= POD ? found : 0;
	level = level_of(cgroup);
	if (!cfg->pod_level || level <= pod_level)
		return 0;
	if (level > pod_level + 1) {
		above = ancestor_id(cgroup, pod_level + 1);
		found = tracked.lookup(&above);
		if (found)
			return found;
	}
	above = ancestor_id(cgroup, pod_level);
	found = tracked.lookup(&above);
	return found && found->kind >= POD ? found : 0;
}

/* The cgroup outside pods that is counted for this one: its ancestor at level 2 (a systemd unit), or itself. While the kubelet's
 * root is not known it may still be a pod's, and is counted for itself. */
static __always_inline u64 host_cgroup(struct config *cfg, u64 cgroup, u64 id, u32 base)
{
	return cfg->pod_level && level_of(cgroup) > HOST_LEVEL + base ? ancestor_id(cgroup, HOST_LEVEL + base) : id;
}

/* The cgroup's counters, created if needed. When their map is full they are those of `other`, and `cgroup` becomes 0: every fork
 * is counted somewhere. */
static __always_inline struct cgroup_counters *counters_of(u64 *cgroup, bool in_pod)
{
	struct cgroup_counters fresh = {}, *counters;

	if (in_pod) {
		counters = pod_counters.lookup(cgroup);
		if (counters)
			return counters;
		pod_counters.insert(cgroup, &fresh);	/* fails when another CPU was first, or when the map is full */
		counters = pod_counters.lookup(cgroup);
		if (counters)
			return counters;
	}
	counters = host_counters.lookup(cgroup);
	if (counters)
		return counters;
	host_counters.insert(cgroup, &fresh);
	counters = host_counters.lookup(cgroup);
	if (counters)
		return counters;
	*cgroup = 0;
	return host_counters.lookup(cgroup);
}
