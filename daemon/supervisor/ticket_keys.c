#include "daemon/supervisor/ticket_keys.h"

#include "daemon/base/owned.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

enum { KEY_BYTES = CONTROL_TLS_TICKET_KEY_BYTES, KEYS_MAX = CONTROL_TLS_TICKET_KEYS };

/* Which key is which, of keys that are ours. */
enum { CURRENT, PREVIOUS, NEXT };
static_assert(NEXT + 1 == KEYS_MAX, "every place has its meaning");

static int fill_random(void *memory, size_t bytes)
{
    ssize_t got;
    do
        got = getrandom(memory, bytes, 0);
    while (got < 0 && errno == EINTR);
    /* Up to 256 octets come as a whole. */
    return got == (ssize_t)bytes ? 0 : -EIO;
}
static_assert(KEY_BYTES * KEYS_MAX <= 256, "one call of getrandom");

static void replace(struct ticket_keys *keys, struct control_tls_tickets *fresh, struct file_copy file)
{
    file_copy_deinit(&keys->file);
    keys->keys = *fresh;
    keys->file = file;
    explicit_bzero(fresh, sizeof *fresh);
}

static int make(struct ticket_keys *keys, char why[TICKET_KEYS_WHY_BYTES])
{
    struct control_tls_tickets fresh = {.count = KEYS_MAX};
    int r = fill_random(fresh.keys, sizeof fresh.keys);
    if (r < 0) {
        snprintf(why, TICKET_KEYS_WHY_BYTES, "no random octets for ticket keys");
        return r;
    }
    replace(keys, &fresh, FILE_COPY_NONE);
    return 0;
}

static int read_keys(const struct file_copy *file, struct control_tls_tickets *ret_keys)
{
    off_t bytes = lseek(file->fd, 0, SEEK_END);
    if (bytes <= 0 || bytes % KEY_BYTES != 0 || bytes > KEYS_MAX * KEY_BYTES)
        return -EINVAL;
    ret_keys->count = (uint32_t)(bytes / KEY_BYTES);
    return pread(file->fd, ret_keys->keys, (size_t)bytes, 0) == bytes ? 0 : -EIO;
}

static int load(struct ticket_keys *keys, const char *path, char why[TICKET_KEYS_WHY_BYTES])
{
    struct control_tls_tickets fresh = {};
    struct file_copy file = FILE_COPY_NONE;

    int r = file_copy_take(path, &file);
    if (r < 0) {
        snprintf(why, TICKET_KEYS_WHY_BYTES, "tls_ticket_keys: cannot read %.300s: %s", path, strerror(-r));
        return r;
    }
    r = read_keys(&file, &fresh);
    if (r < 0) {
        snprintf(why, TICKET_KEYS_WHY_BYTES, "tls_ticket_keys: %.300s: expected one to %d keys of %d octets each", path,
                 KEYS_MAX, KEY_BYTES);
        file_copy_deinit(&file);
        return r;
    }
    replace(keys, &fresh, file);
    return 0;
}

int ticket_keys_load(struct ticket_keys *keys, const char *path, char why[TICKET_KEYS_WHY_BYTES])
{
    return path == NULL ? make(keys, why) : load(keys, path, why);
}

int ticket_keys_rotate(struct ticket_keys *keys)
{
    uint8_t fresh[KEY_BYTES];
    int r = fill_random(fresh, sizeof fresh);
    if (r < 0)
        return r;
    memcpy(keys->keys.keys[PREVIOUS], keys->keys.keys[CURRENT], KEY_BYTES);
    memcpy(keys->keys.keys[CURRENT], keys->keys.keys[NEXT], KEY_BYTES);
    memcpy(keys->keys.keys[NEXT], fresh, KEY_BYTES);
    explicit_bzero(fresh, sizeof fresh);
    return 0;
}

void ticket_keys_deinit(struct ticket_keys *keys)
{
    file_copy_deinit(&keys->file);
    explicit_bzero(&keys->keys, sizeof keys->keys);
}
