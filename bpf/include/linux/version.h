/* BCC's helpers.h includes this file. The probe never asks which version it runs on: BTF says what is there. */
#define LINUX_VERSION_CODE 0
#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + (c))
