#include "daemon/base/spin_policy.h"

#include <sched.h>
#include <time.h>

void spin_policy_init(struct spin_policy *policy, bool spins, bool adapts, uint32_t usable_cpus, uint32_t processes)
{
    *policy = (struct spin_policy){};
    if (!spins || (adapts && usable_cpus <= processes))
        return;
    policy->adapts = adapts;
    policy->spin_ns = adapts ? SPIN_LEAST_NS : SPIN_MOST_NS;
}

void spin_policy_learn(struct spin_policy *policy, uint64_t waited_ns)
{
    if (!policy->adapts)
        return;
    uint32_t ns = waited_ns <= SPIN_MOST_NS ? policy->spin_ns * 2 : policy->spin_ns / 2;
    if (ns < SPIN_LEAST_NS)
        ns = SPIN_LEAST_NS;
    policy->spin_ns = ns < SPIN_MOST_NS ? ns : SPIN_MOST_NS;
}

uint32_t spin_usable_cpus(void)
{
    cpu_set_t cpus;
    return sched_getaffinity(0, sizeof cpus, &cpus) == 0 ? (uint32_t)CPU_COUNT(&cpus) : 1;
}

uint64_t spin_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1'000'000'000U + (uint64_t)now.tv_nsec;
}
