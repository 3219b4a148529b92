/*
 * Machine memory: how much this process and its children may use together: the machine's memory, or less where a
 * control group (version 2) above or at this process says so.
 *
 * Owns:    nothing. Looks at files of the kernel only; /proc/meminfo, which ProcSubset=pid hides, is not among them.
 * Threads: any.
 */
#ifndef CONFIG_MACHINE_MEMORY_H
#define CONFIG_MACHINE_MEMORY_H

#include <stdint.h>

uint64_t machine_memory_bytes(void);

/* The least memory.max of the group that `membership` (as /proc/self/cgroup) names and of all above it, up to `root`,
 * where the hierarchy is mounted. UINT64_MAX: none is set, or none can be read. */
uint64_t machine_memory_group_limit(const char *root, const char *membership);

#endif
