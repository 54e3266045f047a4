/* BCC includes this file always, and refuses a folder of kernel sources that lacks it. helpers.h checks one option. */
#define CONFIG_BPF_SYSCALL 1
