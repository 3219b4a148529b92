#include "daemon/io/tls_describe.h"

#include "daemon/io/tls_library.h"
#include "daemon/io/tls_pair.h"

#include <errno.h>

static const char early_data[] = "early-data"
                                 "1";

void tls_descriptions_init(struct tls_descriptions *descriptions, struct buffer_pool *buffers)
{
    *descriptions = (struct tls_descriptions){.buffers = buffers};
}

void tls_descriptions_deinit(struct tls_descriptions *descriptions)
{
    for (uint32_t i = 0; descriptions->buffers != NULL && i < TLS_DESCRIPTIONS_KEPT; i++)
        buffer_pool_drop(descriptions->buffers, &descriptions->kept[i].loan);
    *descriptions = (struct tls_descriptions){};
}

/* ---- blocks ----------------------------------------------------------------------------------------------------- */

static int write_block(struct tls_descriptions *descriptions, const struct tls_record *record,
                       struct tls_description *ret_description)
{
    struct loan loan;
    uint8_t *memory;
    uint32_t capacity;
    const size_t bytes = tls_record_bytes(record);
    const size_t needed = bytes + sizeof early_data - 1;
    if (needed > TLS_RECORD_BLOCK_BYTES_MAX)
        return -ENOBUFS;
    int r = buffer_pool_stage(descriptions->buffers, (uint32_t)needed, &loan, &memory, &capacity);
    if (r < 0)
        return r;
    r = tls_record_write(record, memory, capacity);
    if (r < 0) {
        buffer_pool_drop(descriptions->buffers, &loan);
        return r;
    }
    memcpy(memory + bytes, early_data, sizeof early_data - 1);
    const uint32_t offset = buffer_pool_offset(descriptions->buffers, memory);
    ret_description->loan = loan;
    ret_description->span = (struct arena_span){.offset = offset, .length = (uint32_t)bytes};
    ret_description->early_data_offset = offset + (uint32_t)bytes;
    return 0;
}

static int describe(struct tls_descriptions *descriptions, const struct tls_agreed *agreed,
                    struct tls_description *ret_description)
{
    struct tls_record record;
    const uint8_t *data;
    size_t length;
    int r = -ENOMEM;
    BIO *certificate = BIO_new(BIO_s_mem());
    tls_agreed_record(agreed, &record);
    if (certificate != NULL && PEM_write_bio_X509(certificate, agreed->pair->chain[0]) &&
        BIO_mem_contents(certificate, &data, &length)) {
        record.texts[TLS_RECORD_SERVER_CERTIFICATE] = bytes_of(data, length);
        r = write_block(descriptions, &record, ret_description);
    }
    BIO_free(certificate);
    ERR_clear_error();
    return r;
}

/* Where it is kept, or would be. */
static struct tls_description *place_of(struct tls_descriptions *descriptions, const uint8_t *digest)
{
    return &descriptions->kept[digest[0] % TLS_DESCRIPTIONS_KEPT];
}

static bool is_kept(const struct tls_description *kept, const uint8_t *digest)
{
    return kept->loan.kind != LOAN_NONE && memcmp(kept->digest, digest, sizeof kept->digest) == 0;
}

int tls_descriptions_find_agreed(struct tls_descriptions *descriptions, const struct tls_agreed *agreed,
                                 const struct tls_description **ret_description)
{
    struct tls_description *kept = place_of(descriptions, agreed->digest);
    *ret_description = kept;
    if (is_kept(kept, agreed->digest))
        return 0;
    struct tls_description fresh = {};
    memcpy(fresh.digest, agreed->digest, sizeof fresh.digest);
    int r = describe(descriptions, agreed, &fresh);
    if (r < 0)
        return r;
    buffer_pool_drop(descriptions->buffers, &kept->loan);
    *kept = fresh;
    return 0;
}

int tls_descriptions_find(struct tls_descriptions *descriptions, struct tls_channel *channel,
                          const struct tls_description **ret_description)
{
    const uint8_t *digest = tls_channel_digest(channel);
    struct tls_agreed *agreed;
    *ret_description = place_of(descriptions, digest);
    if (is_kept(*ret_description, digest))
        return 0;
    int r = tls_agreed_create(channel, &agreed);
    if (r < 0)
        return r;
    r = tls_descriptions_find_agreed(descriptions, agreed, ret_description);
    tls_agreed_drop(agreed);
    return r;
}
