#include "daemon/io/memory_account.h"

/* In percent of the cap: where a step is entered, and below what it is left. */
static const struct bounds {
    uint8_t enters;
    uint8_t leaves;
} BOUNDS[] = {[MEMORY_NORMAL] = {0, 0}, [MEMORY_SCARCE] = {85, 75}, [MEMORY_EXHAUSTED] = {95, 90}};

void memory_account_watch(struct memory_account *account, const struct slab *slab)
{
    assert(account->slab_count < MEMORY_SLABS_MAX);
    account->slabs[account->slab_count++] = slab;
}

/* Of the cap; without overflow for any cap that fits a file size. */
static uint64_t part(const struct memory_account *account, uint8_t percent)
{
    return account->bytes_max / 100 * percent + account->bytes_max % 100 * percent / 100;
}

static enum memory_step find_step(const struct memory_account *account)
{
    if (account->bytes_max == 0)
        return MEMORY_NORMAL;
    enum memory_step step = account->step;
    while (step < MEMORY_EXHAUSTED && account->bytes >= part(account, BOUNDS[step + 1].enters))
        step++;
    while (step > MEMORY_NORMAL && account->bytes < part(account, BOUNDS[step].leaves))
        step--;
    return step;
}

bool memory_account_look(struct memory_account *account, uint64_t more)
{
    uint64_t bytes = account->charged + more;
    for (uint32_t i = 0; i < account->slab_count; i++)
        bytes += (uint64_t)account->slabs[i]->live * account->slabs[i]->object_bytes;
    account->bytes = bytes;
    const enum memory_step before = account->step;
    account->step = find_step(account);
    return account->step != before;
}
