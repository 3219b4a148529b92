#include "config/setting_toml.h"

#include <assert.h>
#include <string.h>

enum { SHOWN_LINE_BYTES = 4'096 };

const char *setting_word_of(const struct setting *setting, int value)
{
    for (const struct setting_word *word = setting->words; word->word != NULL; word++)
        if (word->value == value)
            return word->word;
    assert(false);
    return NULL;
}

/* ---- what is allowed -------------------------------------------------------------------------------------------- */

static void allow_bool(const struct setting *, FILE *output)
{
    fputs("true or false", output);
}

static void allow_count(const struct setting *setting, FILE *output)
{
    if (setting->max < INT32_MAX)
        fprintf(output, "a whole number from %ld to %ld", (long)setting->min, (long)setting->max);
    else
        fprintf(output, "a whole number, %ld or more", (long)setting->min);
    if (setting->automatic != NULL)
        fprintf(output, ", or \"%s\"", setting->automatic);
}

static void allow_size(const struct setting *setting, FILE *output)
{
    fprintf(output, "bytes from %ld to %ld, as a number that K, M or G may follow", (long)setting->min,
            (long)setting->max);
    if (setting->automatic != NULL)
        fprintf(output, ", or \"%s\"", setting->automatic);
}

static void allow_duration(const struct setting *setting, FILE *output)
{
    fprintf(output, "seconds from 0 to %ld, fractions allowed", (long)(setting->max / 1000));
    if (setting->automatic != NULL)
        fprintf(output, ", or \"%s\"", setting->automatic);
}

static void allow_mode(const struct setting *setting, FILE *output)
{
    fprintf(output, "a file mode from 0 to 0o%lo, octal behind a leading 0", (unsigned long)setting->max);
}

static void allow_word(const struct setting *setting, FILE *output)
{
    const char *before = "one of ";

    for (const struct setting_word *word = setting->words; word->word != NULL; word++) {
        if (word->refusal != NULL || setting_word_of(setting, word->value) != word->word)
            continue;
        fprintf(output, "%s\"%s\"", before, word->word);
        before = ", ";
    }
}

static void allow_string(const struct setting *, FILE *output)
{
    fputs("a string", output);
}

static void allow_identity(const struct setting *, FILE *output)
{
    fputs("a name or a number", output);
}

static void allow_list(const struct setting *, FILE *output)
{
    fputs("a string or a list of strings", output);
}

static void allow_pairs(const struct setting *, FILE *output)
{
    fputs("a table of names and strings, or NAME=VALUE,NAME=VALUE", output);
}

static void allow_tables(const struct setting *setting, FILE *output)
{
    fprintf(output, "tables [[%s]] in a settings file", setting->name);
}

static void allow_hook(const struct setting *, FILE *output)
{
    fputs("a function of a Python settings file", output);
}

/* ---- what is set --------------------------------------------------------------------------------------------------
 */

void toml_string_write(const char *text, FILE *output)
{
    fputc('"', output);
    for (; *text != '\0'; text++) {
        unsigned char octet = (unsigned char)*text;
        if (octet < 0x20 || octet == 0x7f)
            fprintf(output, "\\u%04X", octet);
        else if (octet == '"' || octet == '\\')
            fprintf(output, "\\%c", octet);
        else
            fputc(octet, output);
    }
    fputc('"', output);
}

static void write_items(const struct string_list *list, FILE *output)
{
    fputc('[', output);
    for (size_t i = 0; i < list->count; i++) {
        fputs(i == 0 ? "" : ", ", output);
        toml_string_write(list->items[i], output);
    }
    fputc(']', output);
}

static void write_pairs(const struct string_list *list, FILE *output)
{
    fputs("{ ", output);
    for (size_t i = 0; i < list->count; i++) {
        const char *item = list->items[i], *equals = strchr(item, '=');
        fprintf(output, "%s\"%.*s\" = ", i == 0 ? "" : ", ", (int)(equals - item), item);
        toml_string_write(equals + 1, output);
    }
    fputs(" }", output);
}

/* One table of an array, inline. */
static void write_table(const char *lines, FILE *output)
{
    const char *before = "{ ";

    while (*lines != '\0') {
        char value[SHOWN_LINE_BYTES];
        size_t length = strcspn(lines, "\n"), name = strcspn(lines, "=");
        snprintf(value, sizeof(value), "%.*s", (int)(length - name - 1), lines + name + 1);
        fprintf(output, "%s%.*s = ", before, (int)name, lines);
        if (strcmp(value, "true") == 0 || strcmp(value, "false") == 0)
            fputs(value, output);
        else
            toml_string_write(value, output);
        before = ", ";
        lines += length + (lines[length] != '\0');
    }
    fputs(" }", output);
}

static void write_tables(const struct string_list *list, FILE *output)
{
    fputc('[', output);
    for (size_t i = 0; i < list->count; i++) {
        fputs(i == 0 ? "" : ", ", output);
        write_table(list->items[i], output);
    }
    fputc(']', output);
}

static void write_bool(const struct setting *, const void *field, FILE *output)
{
    fputs(*(const bool *)field ? "true" : "false", output);
}

static bool write_automatic(const struct setting *setting, const void *field, FILE *output)
{
    if (*(const int64_t *)field != SETTING_AUTOMATIC)
        return false;
    toml_string_write(setting->automatic, output);
    return true;
}

static void write_count(const struct setting *setting, const void *field, FILE *output)
{
    if (!write_automatic(setting, field, output))
        fprintf(output, "%ld", (long)*(const int64_t *)field);
}

static void write_size(const struct setting *setting, const void *field, FILE *output)
{
    static const char units[] = "KMG";
    int64_t size = *(const int64_t *)field;
    int unit = -1;

    if (write_automatic(setting, field, output))
        return;
    for (; unit < 2 && size > 0 && size % 1024 == 0; unit++)
        size /= 1024;
    if (unit < 0)
        fprintf(output, "%ld", (long)size);
    else
        fprintf(output, "\"%ld%c\"", (long)size, units[unit]);
}

static void write_duration(const struct setting *setting, const void *field, FILE *output)
{
    int64_t milliseconds = *(const int64_t *)field;
    char text[32];

    if (write_automatic(setting, field, output))
        return;
    int length = snprintf(text, sizeof(text), "%ld.%03ld", (long)(milliseconds / 1000), (long)(milliseconds % 1000));
    while (text[length - 1] == '0')
        length--;
    length -= text[length - 1] == '.';
    fprintf(output, "%.*s", length, text);
}

static void write_mode(const struct setting *, const void *field, FILE *output)
{
    fprintf(output, "0o%03lo", (unsigned long)*(const int64_t *)field);
}

static void write_word(const struct setting *setting, const void *field, FILE *output)
{
    toml_string_write(setting_word_of(setting, *(const int *)field), output);
}

static void write_string(const struct setting *, const void *field, FILE *output)
{
    const char *text = *(char *const *)field;

    toml_string_write(text == NULL ? "" : text, output);
}

static void write_list(const struct setting *, const void *field, FILE *output)
{
    write_items(field, output);
}

static void write_pairs_field(const struct setting *, const void *field, FILE *output)
{
    write_pairs(field, output);
}

static void write_tables_field(const struct setting *, const void *field, FILE *output)
{
    write_tables(field, output);
}

static const struct {
    void (*allow)(const struct setting *, FILE *);
    void (*write)(const struct setting *, const void *field, FILE *);
} types[] = {
    [SETTING_BOOL] = {allow_bool, write_bool},
    [SETTING_COUNT] = {allow_count, write_count},
    [SETTING_SIZE] = {allow_size, write_size},
    [SETTING_DURATION] = {allow_duration, write_duration},
    [SETTING_MODE] = {allow_mode, write_mode},
    [SETTING_WORD] = {allow_word, write_word},
    [SETTING_STRING] = {allow_string, write_string},
    [SETTING_IDENTITY] = {allow_identity, write_string},
    [SETTING_LIST] = {allow_list, write_list},
    [SETTING_PAIRS] = {allow_pairs, write_pairs_field},
    [SETTING_TABLES] = {allow_tables, write_tables_field},
    [SETTING_HOOK] = {allow_hook, write_count},
};

void setting_write_allowed(const struct setting *setting, FILE *output)
{
    types[setting->type].allow(setting, output);
}

void setting_write(const struct setting *setting, const struct settings *settings, FILE *output)
{
    types[setting->type].write(setting, setting_field(settings, setting), output);
}

void raw_value_write(const struct raw_value *raw, FILE *output)
{
    switch (raw->kind) {
    case RAW_TEXT:
        toml_string_write(raw_value_text(raw), output);
        break;
    case RAW_NONE:
        fputs("None", output);
        break;
    case RAW_LIST:
        write_items(&raw->items, output);
        break;
    case RAW_PAIRS:
        write_pairs(&raw->items, output);
        break;
    case RAW_TABLES:
        write_tables(&raw->items, output);
        break;
    case RAW_CALLABLE:
        fputs("a callable", output);
        break;
    default:
        fputs(raw_value_text(raw), output);
        break;
    }
}
