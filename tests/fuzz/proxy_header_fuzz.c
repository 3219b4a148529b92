/*
 * PROXY headers: no beginning of one may be answered otherwise than the whole; addresses come out as text.
 *
 * Input: one octet for the accepted versions, then the header.
 */
#include <arpa/inet.h>
#include <assert.h>
#include <stdlib.h>

#include "proto/proxy_header.h"

static enum proxy_progress feed(struct proxy_header *header, enum proxy_version accept, struct bytes input,
                                size_t length, size_t *ret_consumed)
{
    uint8_t *copy = malloc(length + (length == 0));
    assert(copy);
    if (length > 0)
        memcpy(copy, input.data, length);
    enum proxy_progress progress = proxy_header_feed(header, accept, bytes_of(copy, length), ret_consumed);
    free(copy);
    return progress;
}

static void assert_promises(const struct proxy_header *header, enum proxy_version accept, size_t consumed)
{
    unsigned char address[16];
    assert((header->version & accept) != 0);
    assert(consumed <= (header->version == PROXY_V1 ? (size_t)PROXY_V1_BYTES_MAX : (size_t)PROXY_V2_BYTES_MAX));
    bool has_address = header->family == PROXY_IPV4 || header->family == PROXY_IPV6;
    if (!has_address) {
        assert(header->source[0] == '\0' && header->destination[0] == '\0');
        assert(header->source_port == 0 && header->destination_port == 0);
        return;
    }
    int family = header->family == PROXY_IPV4 ? AF_INET : AF_INET6;
    assert(inet_pton(family, header->source, address) == 1);
    assert(inet_pton(family, header->destination, address) == 1);
}

static void assert_same(const struct proxy_header *a, const struct proxy_header *b)
{
    assert(a->version == b->version && a->family == b->family);
    assert(strcmp(a->source, b->source) == 0 && strcmp(a->destination, b->destination) == 0);
    assert(a->source_port == b->source_port && a->destination_port == b->destination_port);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || size > 2000)
        return 0;
    enum proxy_version accept = (enum proxy_version)(1 + data[0] % 3);
    struct bytes input = bytes_of(data + 1, size - 1);
    struct proxy_header whole, part;
    size_t consumed = 0, part_consumed = 0;
    enum proxy_progress progress = feed(&whole, accept, input, input.length, &consumed);
    assert(consumed <= input.length);
    if (progress == PROXY_READY)
        assert_promises(&whole, accept, consumed);

    enum proxy_progress part_progress = PROXY_NEED_MORE;
    for (size_t length = 0; length <= input.length && part_progress == PROXY_NEED_MORE; length++)
        part_progress = feed(&part, accept, input, length, &part_consumed);
    assert(part_progress == progress);
    assert(part_consumed == consumed);
    if (progress == PROXY_REJECTED)
        assert(strcmp(part.reason, whole.reason) == 0);
    if (progress == PROXY_READY)
        assert_same(&part, &whole);
    return 0;
}
