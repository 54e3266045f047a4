/* BCC's helpers.h includes this file. Our programs do not depend on a version: what a kernel has is read from its BTF. */
#define LINUX_VERSION_CODE 0
#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + (c))
