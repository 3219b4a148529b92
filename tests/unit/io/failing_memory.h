/*
 * Memory that runs out: allocations in the daemon's part of a test are counted, and one of them fails, or all from it
 * on. The linker leads malloc, calloc, realloc and slab_borrow here (tests/CMakeLists.txt), for the programs that want
 * it; what the scripted engine allocates when it completes operations is not the daemon's.
 */
#ifndef TESTS_UNIT_IO_FAILING_MEMORY_H
#define TESTS_UNIT_IO_FAILING_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

struct failing_memory {
    uint32_t first; /* the number of the allocation that fails, from 1 on; 0: none does */
    bool rest;      /* and those after it */
    bool is_daemon; /* set by the test around what it runs of the daemon */
    uint32_t count;
};

extern struct failing_memory failing_memory;

#endif
