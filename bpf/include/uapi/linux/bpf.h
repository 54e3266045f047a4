/* BCC brings the kernel's uapi bpf.h along, under this name. */
#include <bcc/bpf.h>
