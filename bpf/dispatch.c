// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is attached to the tracepoints for good: one tail call to the probe in charge.
 *
 * Five programs hang on the kernel's hooks and stay there while probes come and go behind them: an upgrade loads its probe beside
 * the one that runs, puts it into the other half of `slots` and then writes one number, `base`. From that write on each hook
 * calls the new one: no fork is seen by none, and none by both.
 *
 * Must not live here: anything that may ever have to change. A dispatcher of another version is never replaced while forks are
 * captured; it is taken over as it is.
 */
#include <linux/types.h>

BPF_TABLE("prog", u32, u32, slots, 16);	/* two probes of up to eight programs */
BPF_ARRAY(base, u32, 1);		/* 0 or 8 */

static __always_inline int hand_on(struct bpf_raw_tracepoint_args *ctx, u32 hook)
{
	u32 first = 0, *start = base.lookup(&first);

	if (start)
		slots.call(ctx, *start + hook);
	return 0;	/* no probe there: the moment before the first one, and after the last */
}

/* The numbers are the order of HOOKS in agent/kernel/loader.py. */
int hook_0(struct bpf_raw_tracepoint_args *ctx) { return hand_on(ctx, 0); }
int hook_1(struct bpf_raw_tracepoint_args *ctx) { return hand_on(ctx, 1); }
int hook_2(struct bpf_raw_tracepoint_args *ctx) { return hand_on(ctx, 2); }
int hook_3(struct bpf_raw_tracepoint_args *ctx) { return hand_on(ctx, 3); }
int hook_4(struct bpf_raw_tracepoint_args *ctx) { return hand_on(ctx, 4); }
