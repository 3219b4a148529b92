#include "daemon/io/spool.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { NONE = 0xffff'ffff, ENTRIES_FIRST = 64 };

/* ---- the file --------------------------------------------------------------------------------------------------- */

/* Where the file system knows no nameless files: a name for as long as it takes to unlink it. */
static int open_and_unlink(const char *directory)
{
    char path[PATH_MAX];
    int length = snprintf(path, sizeof path, "%s/uroboros-spool-XXXXXX", directory);
    if (length < 0 || (size_t)length >= sizeof path)
        return -ENAMETOOLONG;
    int fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0)
        return -errno;
    unlink(path);
    return fd;
}

static int open_file(const char *directory)
{
    int fd = open(directory, O_TMPFILE | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0)
        return fd;
    bool unknown = errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL;
    return unknown ? open_and_unlink(directory) : -errno;
}

int spool_init(struct spool *spool, const char *directory, uint64_t bytes_max)
{
    uint64_t blocks = bytes_max / SPOOL_BLOCK_BYTES;
    int fd = open_file(directory);
    if (fd < 0)
        return fd;
    *spool = (struct spool){
        .fd = fd,
        .open = true,
        .capacity = blocks < NONE ? (uint32_t)blocks : NONE - 1,
        .stale = NONE,
        .free = NONE,
    };
    return 0;
}

void spool_deinit(struct spool *spool)
{
    if (spool->open)
        close(spool->fd);
    free(spool->next);
    *spool = (struct spool){};
}

static off_t offset_of(uint32_t block, uint32_t at)
{
    return (off_t)block * SPOOL_BLOCK_BYTES + (off_t)at;
}

static int write_all(const struct spool *spool, off_t offset, struct bytes data)
{
    while (data.length > 0) {
        ssize_t written = pwrite(spool->fd, data.data, data.length, offset);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return written < 0 ? -errno : -EIO;
        data = bytes_skip(data, (size_t)written);
        offset += written;
    }
    return 0;
}

static int read_all(const struct spool *spool, off_t offset, uint8_t *memory, size_t length)
{
    while (length > 0) {
        ssize_t got = pread(spool->fd, memory, length, offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got < 0 ? -errno : -EIO;
        memory += got;
        length -= (size_t)got;
        offset += got;
    }
    return 0;
}

/* ---- blocks ----------------------------------------------------------------------------------------------------- */

static bool make_entry(struct spool *spool, uint32_t block)
{
    if (block < spool->entries)
        return true;
    uint64_t wanted = spool->entries == 0 ? ENTRIES_FIRST : 2 * (uint64_t)spool->entries;
    uint32_t entries = wanted < spool->capacity ? (uint32_t)wanted : spool->capacity;
    uint32_t *next = realloc(spool->next, entries * sizeof *next);
    if (next == NULL)
        return false;
    spool->next = next;
    spool->entries = entries;
    return true;
}

static bool pop(const struct spool *spool, uint32_t *list, uint32_t *ret_block)
{
    if (*list == NONE)
        return false;
    *ret_block = *list;
    *list = spool->next[*list];
    return true;
}

static void push(const struct spool *spool, uint32_t *list, uint32_t block)
{
    spool->next[block] = *list;
    *list = block;
}

static int borrow(struct spool *spool, uint32_t *ret_block)
{
    uint32_t block;
    if (!pop(spool, &spool->stale, &block) && !pop(spool, &spool->free, &block)) {
        block = spool->fresh;
        if (block == spool->capacity)
            return -ENOBUFS;
        if (!make_entry(spool, block))
            return -ENOMEM;
        spool->fresh++;
    }
    spool->next[block] = NONE;
    spool->live++;
    *ret_block = block;
    return 0;
}

static void give_back(struct spool *spool, uint32_t block)
{
    push(spool, &spool->stale, block);
    spool->live--;
}

bool spool_turn(struct spool *spool)
{
    uint32_t block;
    for (uint32_t i = 0; spool->open && i < SPOOL_TURN_BLOCKS && pop(spool, &spool->stale, &block); i++) {
        /* Where holes cannot be punched the space stays taken until the block is used again: no harm but that. */
        (void)!fallocate(spool->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset_of(block, 0), SPOOL_BLOCK_BYTES);
        push(spool, &spool->free, block);
    }
    return spool->open && spool->stale != NONE;
}

/* ---- chains ----------------------------------------------------------------------------------------------------- */

static int extend(struct spool *spool, struct spool_chain *chain)
{
    uint32_t block;
    int r = borrow(spool, &block);
    if (r < 0)
        return r;
    if (chain->bytes == 0) {
        chain->first = block;
        chain->read_at = 0;
    } else {
        spool->next[chain->last] = block;
    }
    chain->last = block;
    chain->write_at = 0;
    return 0;
}

/* As much of `data` as the last block has room for. A block without an octet is never left in the chain. */
static int append_some(struct spool *spool, struct spool_chain *chain, struct bytes *data)
{
    bool fresh = chain->bytes == 0;
    if (fresh || chain->write_at == SPOOL_BLOCK_BYTES) {
        int r = extend(spool, chain);
        if (r < 0)
            return r;
    }
    size_t room = SPOOL_BLOCK_BYTES - chain->write_at;
    size_t length = data->length < room ? data->length : room;
    int r = write_all(spool, offset_of(chain->last, chain->write_at), bytes_of(data->data, length));
    if (r < 0) {
        if (fresh)
            give_back(spool, chain->first);
        return r;
    }
    chain->write_at += (uint32_t)length;
    chain->bytes += length;
    *data = bytes_skip(*data, length);
    return 0;
}

int spool_append(struct spool *spool, struct spool_chain *chain, struct bytes data)
{
    while (data.length > 0) {
        int r = append_some(spool, chain, &data);
        if (r < 0)
            return r;
    }
    return 0;
}

static void drop_first(struct spool *spool, struct spool_chain *chain)
{
    uint32_t block = chain->first;
    chain->first = spool->next[block];
    chain->read_at = 0;
    give_back(spool, block);
}

int spool_take(struct spool *spool, struct spool_chain *chain, uint8_t *memory, size_t capacity, size_t *ret_length)
{
    size_t length = SPOOL_BLOCK_BYTES - chain->read_at;
    if (length > capacity)
        length = capacity;
    if (length > chain->bytes)
        length = (size_t)chain->bytes;
    int r = length > 0 ? read_all(spool, offset_of(chain->first, chain->read_at), memory, length) : 0;
    if (r < 0)
        return r;
    chain->read_at += (uint32_t)length;
    chain->bytes -= length;
    if (length > 0 && (chain->bytes == 0 || chain->read_at == SPOOL_BLOCK_BYTES))
        drop_first(spool, chain);
    *ret_length = length;
    return 0;
}

void spool_release(struct spool *spool, struct spool_chain *chain)
{
    for (uint32_t block = chain->bytes > 0 ? chain->first : NONE; block != NONE;) {
        uint32_t next = spool->next[block];
        give_back(spool, block);
        block = next;
    }
    *chain = (struct spool_chain){};
}
