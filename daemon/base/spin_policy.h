/*
 * Spin policy: for how long who waits looks again and again before it sleeps.
 *
 * To be woken costs several microseconds on both sides; to look is cheap, but takes a CPU from those who could do the
 * work. So the adaptive wait is off unless there is a CPU left over when every process of the server has one. Where it
 * is on, it learns from how long waits take in all: one that ends soon was worth spinning for, one that does not was
 * not.
 *
 * Owns:    nothing; time is an argument.
 * Threads: one at a time.
 */
#ifndef DAEMON_BASE_SPIN_POLICY_H
#define DAEMON_BASE_SPIN_POLICY_H

#include <stdbool.h>
#include <stdint.h>

enum { SPIN_LEAST_NS = 5'000, SPIN_MOST_NS = 50'000 };

/* A zeroed one sleeps at once. */
struct spin_policy {
    uint32_t spin_ns;
    bool adapts;
};

/* `spins`: at all; `adapts`: between the least and the most, if `usable_cpus` are more than `processes`. */
void spin_policy_init(struct spin_policy *policy, bool spins, bool adapts, uint32_t usable_cpus, uint32_t processes);

/* A wait took so long, sleep included. */
void spin_policy_learn(struct spin_policy *policy, uint64_t waited_ns);

/* CPUs that the calling thread may use, at least 1. */
uint32_t spin_usable_cpus(void);

/* The monotonic clock. */
uint64_t spin_now_ns(void);

#endif
