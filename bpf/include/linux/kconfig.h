/* BCC force-includes this file, and takes a folder that lacks it for no kernel source at all. helpers.h asks for one option:
 * without it there would be no BPF to load. */
#define CONFIG_BPF_SYSCALL 1
