// SPDX-License-Identifier: GPL-2.0-only
/*
 * The programs that are attached to the tracepoints: each is one tail call to the active instance of fork.c's programs.
 *
 * They stay attached while instances are replaced behind them. An upgrade loads its programs into the other half of `slots`
 * beside the running ones, then writes one number, `base`. From that write on every tracepoint calls the new programs: each fork
 * is captured by exactly one instance.
 *
 * Do not change this file: a dispatcher of another version is taken over as it is, never replaced while forks are captured.
 */
#include <linux/types.h>

BPF_TABLE("prog", u32, u32, slots, 16);	/* two instances of up to eight programs */
BPF_ARRAY(base, u32, 1);		/* 0 or 8: the active half */

static __always_inline int call_active(struct bpf_raw_tracepoint_args *ctx, u32 number)
{
	u32 first = 0, *start = base.lookup(&first);

	if (start)
		slots.call(ctx, *start + number);
	return 0;	/* the slot is empty: before the first instance, and after the last */
}

/* The numbers are the order of TRACEPOINTS in agent/kernel/loader.py. */
int tracepoint_0(struct bpf_raw_tracepoint_args *ctx) { return call_active(ctx, 0); }
int tracepoint_1(struct bpf_raw_tracepoint_args *ctx) { return call_active(ctx, 1); }
int tracepoint_2(struct bpf_raw_tracepoint_args *ctx) { return call_active(ctx, 2); }
int tracepoint_3(struct bpf_raw_tracepoint_args *ctx) { return call_active(ctx, 3); }
int tracepoint_4(struct bpf_raw_tracepoint_args *ctx) { return call_active(ctx, 4); }
