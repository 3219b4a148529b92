#include "daemon/io/tls_octets.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_BYTES = 2'048 };

static void count(const struct tls_octets *octets, uint32_t more, uint32_t less)
{
    if (octets->account == NULL)
        return;
    memory_account_charge(octets->account, more);
    memory_account_credit(octets->account, less);
}

void tls_octets_free(struct tls_octets *octets)
{
    free(octets->data);
    count(octets, 0, octets->capacity);
    *octets = (struct tls_octets){.account = octets->account};
}

bool tls_octets_reserve(struct tls_octets *octets, uint32_t more)
{
    uint32_t capacity = octets->capacity > 0 ? octets->capacity : more < FIRST_BYTES ? FIRST_BYTES : more;
    if (octets->at > 0) {
        memmove(octets->data, octets->data + octets->at, tls_octets_left(octets));
        octets->used -= octets->at;
        octets->at = 0;
    }
    while (capacity - octets->used < more)
        capacity *= 2;
    if (capacity == octets->capacity)
        return true;
    uint8_t *data = realloc(octets->data, capacity);
    if (data == NULL)
        return false;
    count(octets, capacity, octets->capacity);
    octets->data = data;
    octets->capacity = capacity;
    return true;
}

bool tls_octets_append(struct tls_octets *octets, struct bytes data)
{
    if (data.length == 0)
        return true;
    if (data.length > UINT32_MAX / 4 || !tls_octets_reserve(octets, (uint32_t)data.length))
        return false;
    memcpy(octets->data + octets->used, data.data, data.length);
    octets->used += (uint32_t)data.length;
    return true;
}
