#include "daemon/exchange/field_block.h"

#include <errno.h>

int field_block_read(struct bytes block, struct http_field *fields, uint32_t capacity)
{
    uint32_t count = 0;
    while (block.length != 0) {
        uint32_t lengths[2];
        if (block.length < sizeof lengths || count == capacity)
            return -EBADMSG;
        memcpy(lengths, block.data, sizeof lengths);
        block = bytes_skip(block, sizeof lengths);
        if ((uint64_t)lengths[0] + lengths[1] > block.length)
            return -EBADMSG;
        fields[count++] = (struct http_field){
            .name = bytes_of(block.data, lengths[0]),
            .value = bytes_of(block.data + lengths[0], lengths[1]),
        };
        block = bytes_skip(block, (size_t)lengths[0] + lengths[1]);
    }
    return (int)count;
}
