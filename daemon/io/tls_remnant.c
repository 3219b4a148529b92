#include "daemon/io/tls_remnant.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

/* They are octets: any place is good for them. */
static struct tls_secrets *secrets_of(struct tls_remnant *remnant)
{
    return (struct tls_secrets *)remnant->secret_memory;
}
static_assert(_Alignof(struct tls_secrets) == 1, "see above");

int tls_remnant_create(struct tls_agreements *agreements, struct tls_channel *channel, bool rekeys,
                       struct tls_remnant **ret_remnant)
{
    struct tls_secrets secrets;
    int r = rekeys ? tls_secrets_of(channel, &secrets) : -ENOTSUP;
    const bool has_secrets = r == 0;
    if (r < 0 && r != -ENOTSUP)
        return r;
    struct tls_remnant *remnant = calloc(1, sizeof *remnant + (has_secrets ? sizeof secrets : 0));
    r = remnant != NULL ? tls_agreements_find(agreements, channel, &remnant->agreed) : -ENOMEM;
    if (r < 0) {
        free(remnant);
    } else {
        remnant->received = tls_channel_received(channel);
        remnant->records_sent = *tls_channel_records_sent(channel);
        remnant->has_secrets = has_secrets;
        if (has_secrets)
            *secrets_of(remnant) = secrets;
        remnant->keys_asked = remnant->keys_ahead = tls_channel_take_key_request(channel);
        *ret_remnant = remnant;
    }
    if (has_secrets)
        tls_secrets_wipe(&secrets);
    return r;
}

void tls_remnant_destroy(struct tls_remnant *remnant)
{
    if (remnant == NULL)
        return;
    if (remnant->has_secrets)
        tls_secrets_wipe(secrets_of(remnant));
    tls_agreed_drop(remnant->agreed);
    free(remnant);
}

int tls_remnant_advance(struct tls_remnant *remnant, enum ktls_direction direction)
{
    if (!remnant->has_secrets)
        return -ENOTSUP;
    if (direction == KTLS_SEND && remnant->keys_ahead)
        return 0;
    int r = tls_secrets_advance(secrets_of(remnant), remnant->agreed->cipher, direction);
    if (direction == KTLS_SEND && r == 0)
        remnant->keys_ahead = true;
    return r;
}

int tls_remnant_keys(const struct tls_remnant *remnant, enum ktls_direction direction, struct ktls_keys *ret_keys)
{
    if (!remnant->has_secrets)
        return -ENOTSUP;
    return tls_secrets_keys((const struct tls_secrets *)remnant->secret_memory, remnant->agreed->cipher, direction,
                            ret_keys);
}
