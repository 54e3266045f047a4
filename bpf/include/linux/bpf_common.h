/* The classic BPF names that the uapi bpf.h builds on (include/uapi/linux/bpf_common.h). */
