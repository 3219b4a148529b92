#include "daemon/io/spool.h"

#include "daemon/base/owned.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { WORD_BLOCKS = 32, WORDS_FIRST = 64, BLOCKS_MAX = 0xffff'ff00 };

/* Not even its owner writes: who gets the reading descriptor cannot open the file for more by way of /proc. */
enum { FILE_MODE = 0400 };

static_assert(SPOOL_TURN_BLOCKS % WORD_BLOCKS == 0, "a turn looks at whole words");
static_assert((uint64_t)SPOOL_RUN_BLOCKS * SPOOL_BLOCK_BYTES <= INT32_MAX, "a run's octets fit the message of it");

/* ---- the file --------------------------------------------------------------------------------------------------- */

/* Where the file system knows no nameless files, or there is no /proc to open one again: a name for as long as it takes
 * to unlink it. */
static int open_named(const char *directory, int *ret_fd, int *ret_reader_fd)
{
    char path[PATH_MAX];
    int length = snprintf(path, sizeof path, "%s/uroboros-spool-XXXXXX", directory);
    if (length < 0 || (size_t)length >= sizeof path)
        return -ENAMETOOLONG;
    OWNED_FD fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0)
        return -errno;
    OWNED_FD reader_fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    int r = reader_fd < 0 || fchmod(fd, FILE_MODE) < 0 ? -errno : 0;
    unlink(path);
    if (r < 0)
        return r;
    *ret_fd = fd_take(&fd);
    *ret_reader_fd = fd_take(&reader_fd);
    return 0;
}

static int open_again(int fd)
{
    char path[sizeof "/proc/self/fd/" + 3 * sizeof fd];
    int length = snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    assert(length > 0 && (size_t)length < sizeof path);
    int again = open(path, O_RDONLY | O_CLOEXEC);
    return again >= 0 ? again : -errno;
}

static int open_nameless(const char *directory, int *ret_fd, int *ret_reader_fd)
{
    OWNED_FD fd = open(directory, O_TMPFILE | O_EXCL | O_RDWR | O_CLOEXEC, FILE_MODE);
    if (fd < 0)
        return -errno;
    OWNED_FD reader_fd = open_again(fd);
    if (reader_fd < 0)
        return -EOPNOTSUPP;
    *ret_fd = fd_take(&fd);
    *ret_reader_fd = fd_take(&reader_fd);
    return 0;
}

int spool_init(struct spool *spool, const char *directory, uint64_t bytes_max)
{
    const uint64_t blocks = bytes_max / SPOOL_BLOCK_BYTES;
    struct spool fresh = {.open = true, .capacity = blocks < BLOCKS_MAX ? (uint32_t)blocks : BLOCKS_MAX};
    int r = open_nameless(directory, &fresh.fd, &fresh.reader_fd);
    if (r == -EOPNOTSUPP || r == -EISDIR || r == -EINVAL)
        r = open_named(directory, &fresh.fd, &fresh.reader_fd);
    if (r < 0)
        return r;
    *spool = fresh;
    return 0;
}

void spool_deinit(struct spool *spool)
{
    if (spool->open) {
        close(spool->fd);
        close(spool->reader_fd);
    }
    free(spool->words);
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

/* ---- blocks ----------------------------------------------------------------------------------------------------- */

static uint32_t words_max(const struct spool *spool)
{
    return spool->capacity / WORD_BLOCKS + (spool->capacity % WORD_BLOCKS != 0);
}

static uint32_t bit_of(uint32_t block)
{
    return UINT32_C(1) << block % WORD_BLOCKS;
}

static uint32_t used_of(const struct spool *spool, uint32_t word)
{
    return word < spool->word_count ? spool->words[word].used : 0;
}

static bool is_free(const struct spool *spool, uint32_t block)
{
    return block < spool->capacity && (used_of(spool, block / WORD_BLOCKS) & bit_of(block)) == 0;
}

static bool make_word(struct spool *spool, uint32_t word)
{
    if (word < spool->word_count)
        return true;
    uint64_t wanted = spool->word_count == 0 ? WORDS_FIRST : 2 * (uint64_t)spool->word_count;
    if (wanted <= word)
        wanted = (uint64_t)word + 1;
    const uint32_t count = wanted < words_max(spool) ? (uint32_t)wanted : words_max(spool);
    struct spool_word *words = realloc(spool->words, count * sizeof *words);
    if (words == NULL)
        return false;
    memset(words + spool->word_count, 0, (count - spool->word_count) * sizeof *words);
    spool->words = words;
    spool->word_count = count;
    return true;
}

static bool take_block(struct spool *spool, uint32_t block)
{
    if (!make_word(spool, block / WORD_BLOCKS))
        return false;
    struct spool_word *word = &spool->words[block / WORD_BLOCKS];
    spool->stale -= (word->stale & bit_of(block)) != 0;
    word->stale &= ~bit_of(block);
    word->used |= bit_of(block);
    spool->live++;
    return true;
}

static void give_back(struct spool *spool, uint32_t block)
{
    const uint32_t index = block / WORD_BLOCKS;
    struct spool_word *word = &spool->words[index];
    assert((word->used & bit_of(block)) != 0);
    word->used &= ~bit_of(block);
    word->stale |= bit_of(block);
    spool->stale++;
    spool->live--;
    if (index < spool->first_free)
        spool->first_free = index;
    if (word->used == 0 && index < spool->first_empty)
        spool->first_empty = index;
}

/* Where a run begins: in a word that nobody else is in, for it will grow; else anywhere. */
static bool find_start(struct spool *spool, uint32_t *ret_block)
{
    const uint32_t words = words_max(spool);
    while (spool->first_empty < words && used_of(spool, spool->first_empty) != 0)
        spool->first_empty++;
    if (spool->first_empty < words) {
        *ret_block = spool->first_empty * WORD_BLOCKS;
        return true;
    }
    while (spool->first_free < words && used_of(spool, spool->first_free) == UINT32_MAX)
        spool->first_free++;
    if (spool->first_free == words)
        return false;
    /* Of the last word a part may be beyond the end. */
    *ret_block = spool->first_free * WORD_BLOCKS + (uint32_t)__builtin_ctz(~used_of(spool, spool->first_free));
    return *ret_block < spool->capacity;
}

/* ---- runs ------------------------------------------------------------------------------------------------------- */

/* Makes the run as long as `bytes` more need, as far as nobody is in its way. */
static int extend(struct spool *spool, struct spool_run *run, size_t bytes)
{
    const uint64_t needed = (run->bytes + (uint64_t)bytes + SPOOL_BLOCK_BYTES - 1) / SPOOL_BLOCK_BYTES;
    const uint32_t blocks = needed < SPOOL_RUN_BLOCKS ? (uint32_t)needed : SPOOL_RUN_BLOCKS;
    if (run->blocks == 0 && !find_start(spool, &run->first))
        return -ENOBUFS;
    while (run->blocks < blocks && is_free(spool, run->first + run->blocks)) {
        if (!take_block(spool, run->first + run->blocks))
            return run->blocks > 0 ? 0 : -ENOMEM;
        run->blocks++;
    }
    return 0;
}

static void shrink(struct spool *spool, struct spool_run *run, uint32_t blocks)
{
    while (run->blocks > blocks)
        give_back(spool, run->first + --run->blocks);
}

int spool_append(struct spool *spool, struct spool_run *run, struct bytes data, size_t *ret_length)
{
    const uint32_t blocks = run->blocks;
    int r = extend(spool, run, data.length);
    if (r < 0)
        return r;
    const uint64_t room = (uint64_t)run->blocks * SPOOL_BLOCK_BYTES - run->bytes;
    const size_t length = data.length < room ? data.length : (size_t)room;
    r = write_all(spool, offset_of(run->first, run->bytes), bytes_of(data.data, length));
    if (r < 0) {
        shrink(spool, run, blocks);
        return r;
    }
    run->bytes += (uint32_t)length;
    spool->written = true;
    *ret_length = length;
    return 0;
}

void spool_release(struct spool *spool, struct spool_run *run)
{
    shrink(spool, run, 0);
    *run = (struct spool_run){};
}

/* ---- space ------------------------------------------------------------------------------------------------------ */

/* Where holes cannot be punched the space stays taken until the block is used again: no harm but that. */
static void punch_word(struct spool *spool, uint32_t index)
{
    struct spool_word *word = &spool->words[index];
    while (word->stale != 0) {
        const uint32_t at = (uint32_t)__builtin_ctz(word->stale);
        const uint32_t behind = ~(word->stale >> at);
        const uint32_t count = behind != 0 ? (uint32_t)__builtin_ctz(behind) : WORD_BLOCKS - at;
        (void)!fallocate(spool->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset_of(index * WORD_BLOCKS + at, 0),
                         (off_t)count * SPOOL_BLOCK_BYTES);
        word->stale &= count < WORD_BLOCKS ? ~(((UINT32_C(1) << count) - 1) << at) : 0;
        spool->stale -= count;
    }
}

/* From the end: the first ones are used again first. */
static void give_space_back(struct spool *spool)
{
    uint32_t words = SPOOL_TURN_BLOCKS / WORD_BLOCKS;
    for (uint32_t index = spool->word_count; index-- > 0 && words > 0 && spool->stale > 0;) {
        if (spool->words[index].stale == 0)
            continue;
        punch_word(spool, index);
        words--;
    }
}

uint64_t spool_turn(struct spool *spool, uint64_t now_ms)
{
    if (spool->written)
        spool->quiet_at_ms = now_ms + SPOOL_QUIET_MS;
    spool->written = false;
    const bool quiet = now_ms >= spool->quiet_at_ms;
    if (spool->stale > (quiet ? 0 : SPOOL_WARM_BLOCKS))
        give_space_back(spool);
    if (spool->stale == 0)
        return UINT64_MAX;
    return quiet || spool->stale > SPOOL_WARM_BLOCKS ? now_ms : spool->quiet_at_ms;
}
