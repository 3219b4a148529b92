#include "daemon/exchange/spsc_ring.h"

#include <errno.h>

static uint64_t word_of(uint32_t epoch, uint32_t position)
{
    return (uint64_t)epoch << 32 | position;
}

static bool word_is_of(uint64_t word, uint32_t epoch)
{
    return (uint32_t)(word >> 32) == epoch;
}

uint32_t spsc_writer_room(struct spsc_writer *writer)
{
    uint32_t used = writer->position - writer->head_seen;
    if (used < writer->capacity)
        return writer->capacity - used;
    /* Acquire: pairs with the release in spsc_pop(); the reader has finished with the entries before its head. */
    uint64_t word = atomic_load_explicit(&writer->head->value, memory_order_acquire);
    uint32_t head = word_is_of(word, writer->epoch) ? (uint32_t)word : 0;
    used = writer->position - head;
    if (used > writer->capacity)
        return 0;
    writer->head_seen = head;
    return writer->capacity - used;
}

bool spsc_push(struct spsc_writer *writer, const struct message *message)
{
    if (spsc_writer_room(writer) == 0)
        return false;
    writer->entries[writer->position & (writer->capacity - 1)] = *message;
    writer->position++;
    /* seq_cst, which holds a release: publishes the entry to spsc_pop(), and is the first half of the doorbell's
     * store-load pair (doorbell.h): tail is stored before `sleeping` is loaded. */
    atomic_store_explicit(&writer->tail->value, word_of(writer->epoch, writer->position), memory_order_seq_cst);
    return true;
}

int spsc_pop(struct spsc_reader *reader, struct message *ret_message)
{
    if (reader->position == reader->tail_seen) {
        /* Acquire: pairs with the store in spsc_push(); the entries before the tail are complete. */
        uint64_t word = atomic_load_explicit(&reader->tail->value, memory_order_acquire);
        uint32_t tail = (uint32_t)word;
        if (!word_is_of(word, reader->epoch))
            return 0;
        if (tail - reader->position > reader->capacity)
            return -EPROTO;
        reader->tail_seen = tail;
        if (tail == reader->position)
            return 0;
    }
    *ret_message = reader->entries[reader->position & (reader->capacity - 1)];
    reader->position++;
    /* Release: pairs with the acquire in spsc_writer_room(); the entry has been copied and may be overwritten. */
    atomic_store_explicit(&reader->head->value, word_of(reader->epoch, reader->position), memory_order_release);
    return 1;
}

bool spsc_reader_pending(struct spsc_reader *reader)
{
    uint64_t word = atomic_load_explicit(&reader->tail->value, memory_order_seq_cst);
    return word_is_of(word, reader->epoch) && (uint32_t)word != reader->position;
}
