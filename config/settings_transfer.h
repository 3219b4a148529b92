/*
 * Settings transfer: a `struct settings` as text in a sealed memory file, for the I/O and app processes.
 *
 * Format:  records NAME=VALUE, each ended by NUL, in the order of the table. NAME is the setting's name, with `_ms` for
 *          a duration; a bool is 0 or 1, a number is decimal, an enum is its word. A list gives one record per item;
 *          a string that is not set and an empty list give none. So a reader in any language is one split and a loop.
 * Threads: any; touches nothing shared.
 */
#ifndef CONFIG_SETTINGS_TRANSFER_H
#define CONFIG_SETTINGS_TRANSFER_H

#include "config/schema.h"

enum { SETTINGS_TRANSFER_BYTES_MAX = 1024 * 1024 };

/* Negative errno, or 0 and a memfd sealed against every change, close-on-exec, position 0. */
[[nodiscard]] int settings_serialize(const struct settings *settings, int *ret_memfd);

/* Reads from the start whatever the position; the descriptor stays open. -EBADMSG: not what this build writes. */
[[nodiscard]] int settings_deserialize(int fd, struct settings *ret_settings);

#endif
