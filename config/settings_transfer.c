#include "config/settings_transfer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/setting_toml.h"
#include "config/settings_arena.h"
#include "daemon/base/owned.h"

enum { KEY_BYTES = 80 };

static void key_of(const struct setting *setting, char key[KEY_BYTES])
{
    snprintf(key, KEY_BYTES, "%s%s", setting->name, setting->type == SETTING_DURATION ? "_ms" : "");
}

static void write_record(FILE *output, const char *key, const char *value)
{
    fprintf(output, "%s=%s", key, value);
    fputc('\0', output);
}

static void write_number(FILE *output, const char *key, int64_t number)
{
    char text[32];

    snprintf(text, sizeof(text), "%ld", (long)number);
    write_record(output, key, text);
}

static void write_field(FILE *output, const struct setting *setting, const void *field)
{
    char key[KEY_BYTES];

    key_of(setting, key);
    switch (setting->type) {
    case SETTING_BOOL:
        write_record(output, key, *(const bool *)field ? "1" : "0");
        break;
    case SETTING_WORD:
        write_record(output, key, setting_word_of(setting, *(const int *)field));
        break;
    case SETTING_STRING:
    case SETTING_IDENTITY:
        if (*(char *const *)field != NULL)
            write_record(output, key, *(char *const *)field);
        break;
    case SETTING_LIST:
    case SETTING_PAIRS:
    case SETTING_TABLES:
        for (size_t i = 0; i < ((const struct string_list *)field)->count; i++)
            write_record(output, key, ((const struct string_list *)field)->items[i]);
        break;
    default:
        write_number(output, key, *(const int64_t *)field);
        break;
    }
}

static int write_all(const struct settings *settings, char **ret_text, size_t *ret_bytes)
{
    FILE *output = open_memstream(ret_text, ret_bytes);

    if (output == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < setting_count(); i++)
        if (setting_at(i)->field != SETTING_NO_FIELD)
            write_field(output, setting_at(i), setting_field(settings, setting_at(i)));
    return fclose(output) == 0 ? 0 : -ENOMEM;
}

static int fill(int fd, const char *text, size_t bytes)
{
    while (bytes > 0) {
        ssize_t written = write(fd, text, bytes);
        if (written < 0)
            return -errno;
        text += written;
        bytes -= (size_t)written;
    }
    return lseek(fd, 0, SEEK_SET) < 0 ? -errno : 0;
}

int settings_serialize(const struct settings *settings, int *ret_memfd)
{
    OWNED_MEMORY char *text = NULL;
    size_t bytes = 0;
    OWNED_FD fd = -1;

    int result = write_all(settings, &text, &bytes);
    if (result < 0)
        return result;
    if (bytes > SETTINGS_TRANSFER_BYTES_MAX)
        return -E2BIG;
    fd = memfd_create("uroboros settings", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return -errno;
    result = fill(fd, text, bytes);
    if (result < 0)
        return result;
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0)
        return -errno;
    *ret_memfd = fd_take(&fd);
    return 0;
}

static int text_bytes(int fd, size_t *ret_bytes)
{
    struct stat status;

    if (fstat(fd, &status) < 0)
        return -errno;
    if (status.st_size <= 0 || status.st_size > SETTINGS_TRANSFER_BYTES_MAX)
        return -EBADMSG;
    *ret_bytes = (size_t)status.st_size;
    return 0;
}

static int read_all(int fd, char *text, size_t bytes)
{
    ssize_t got = pread(fd, text, bytes, 0);

    if (got < 0)
        return -errno;
    return (size_t)got == bytes && text[bytes - 1] == '\0' ? 0 : -EBADMSG;
}

static int read_number(const char *value, int64_t *ret_number)
{
    char *end;

    errno = 0;
    long long number = strtoll(value, &end, 10);
    if (errno != 0 || end == value || *end != '\0')
        return -EBADMSG;
    *ret_number = number;
    return 0;
}

static int read_word(const struct setting *setting, const char *value, int *ret_value)
{
    for (const struct setting_word *word = setting->words; word->word != NULL; word++)
        if (strcmp(word->word, value) == 0) {
            *ret_value = word->value;
            return 0;
        }
    return -EBADMSG;
}

static int read_string(struct settings_arena *arena, const char *value, char **ret_string)
{
    char *copy = settings_arena_string(arena, value);

    if (copy == NULL)
        return -ENOMEM;
    *ret_string = copy;
    return 0;
}

static int read_item(struct settings_arena *arena, const char *value, struct string_list *list)
{
    char *copy = settings_arena_string(arena, value);

    return copy == NULL ? -ENOMEM : string_list_add(arena, list, copy);
}

static int read_bool(const char *value, bool *ret_bool)
{
    if (strcmp(value, "0") != 0 && strcmp(value, "1") != 0)
        return -EBADMSG;
    *ret_bool = *value == '1';
    return 0;
}

static int read_field(struct settings *settings, const struct setting *setting, const char *value)
{
    void *field = setting_field(settings, setting);

    switch (setting->type) {
    case SETTING_BOOL:
        return read_bool(value, field);
    case SETTING_WORD:
        return read_word(setting, value, field);
    case SETTING_STRING:
    case SETTING_IDENTITY:
        return read_string(settings->arena, value, field);
    case SETTING_LIST:
    case SETTING_PAIRS:
    case SETTING_TABLES:
        return read_item(settings->arena, value, field);
    default:
        return read_number(value, field);
    }
}

static bool repeats(const struct setting *setting)
{
    return setting->type == SETTING_LIST || setting->type == SETTING_PAIRS || setting->type == SETTING_TABLES;
}

static bool may_be_absent(const struct setting *setting)
{
    return repeats(setting) || setting->type == SETTING_STRING || setting->type == SETTING_IDENTITY;
}

/* Whether the record at `text` is of this key; `*ret_value` is then what follows the '='. */
static bool is_record_of(const char *text, const char *key, const char **ret_value)
{
    size_t length = strlen(key);

    if (strncmp(text, key, length) != 0 || text[length] != '=')
        return false;
    *ret_value = text + length + 1;
    return true;
}

/* Takes the records of one row from the front. The order of the table makes anything else a foreign text. */
static int read_row(struct settings *settings, const struct setting *setting, const char **text, const char *end)
{
    char key[KEY_BYTES];
    const char *value;
    size_t taken = 0;

    key_of(setting, key);
    while (*text < end && (taken == 0 || repeats(setting)) && is_record_of(*text, key, &value)) {
        int result = read_field(settings, setting, value);
        if (result < 0)
            return result;
        *text = value + strlen(value) + 1;
        taken++;
    }
    return taken > 0 || may_be_absent(setting) ? 0 : -EBADMSG;
}

static int read_rows(struct settings *settings, const char *text, size_t bytes)
{
    const char *end = text + bytes;

    for (size_t i = 0; i < setting_count(); i++) {
        if (setting_at(i)->field == SETTING_NO_FIELD)
            continue;
        int result = read_row(settings, setting_at(i), &text, end);
        if (result < 0)
            return result;
    }
    return text == end ? 0 : -EBADMSG;
}

int settings_deserialize(int fd, struct settings *ret_settings)
{
    size_t bytes = 0;

    int result = text_bytes(fd, &bytes);
    if (result < 0)
        return result;
    OWNED_MEMORY char *text = malloc(bytes);
    struct settings settings = {.arena = text == NULL ? NULL : settings_arena_create()};
    if (settings.arena == NULL)
        return -ENOMEM;
    result = read_all(fd, text, bytes);
    if (result == 0)
        result = read_rows(&settings, text, bytes);
    if (result < 0) {
        settings_deinit(&settings);
        return result;
    }
    *ret_settings = settings;
    return 0;
}
