#include "config/setting_value.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "config/settings_arena.h"

enum { SHOWN_LINE_BYTES = 4'096 };

/* One assignment under way. */
struct target {
    struct settings *settings;
    const struct setting *setting;
    const struct raw_value *raw;
    bool append;
    const char *refusal; /* set by a function that has more to say than what is expected */
};

static const char *only_item(const struct raw_value *raw)
{
    return raw->items.count > 0 ? raw->items.items[0] : "";
}

static bool is_text_or_number(const struct raw_value *raw)
{
    return raw->kind == RAW_TEXT || raw->kind == RAW_NUMBER;
}

/* Digits only: no sign, no space, no exponent. `*text` moves behind them. */
static bool take_digits(const char **text, int64_t *ret_number)
{
    int64_t number = 0;
    const char *at = *text;

    for (; isdigit((unsigned char)*at); at++)
        if (__builtin_mul_overflow(number, 10, &number) || __builtin_add_overflow(number, *at - '0', &number))
            return false;
    if (at == *text)
        return false;
    *text = at;
    *ret_number = number;
    return true;
}

static int store_number(struct target *target, int64_t number)
{
    if (number < target->setting->min || number > target->setting->max)
        return -EINVAL;
    *(int64_t *)setting_field(target->settings, target->setting) = number;
    return 0;
}

static bool is_automatic(const struct target *target)
{
    return target->setting->automatic != NULL && target->raw->kind == RAW_TEXT &&
           strcasecmp(only_item(target->raw), target->setting->automatic) == 0;
}

static int store_automatic(struct target *target)
{
    *(int64_t *)setting_field(target->settings, target->setting) = SETTING_AUTOMATIC;
    return 0;
}

static int assign_bool(struct target *target)
{
    static const struct {
        const char *word;
        bool value;
    } words[] = {{"true", true},   {"yes", true}, {"on", true},   {"1", true},
                 {"false", false}, {"no", false}, {"off", false}, {"0", false}};

    if (target->raw->kind != RAW_BOOL && target->raw->kind != RAW_TEXT)
        return -EINVAL;
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (strcasecmp(only_item(target->raw), words[i].word) == 0) {
            *(bool *)setting_field(target->settings, target->setting) = words[i].value;
            return 0;
        }
    return -EINVAL;
}

static int assign_count(struct target *target)
{
    const char *at = only_item(target->raw);
    int64_t number;

    if (is_automatic(target))
        return store_automatic(target);
    if (!is_text_or_number(target->raw) || !take_digits(&at, &number) || *at != '\0')
        return -EINVAL;
    return store_number(target, number);
}

static int suffix_shift(const char *suffix)
{
    static const char *const suffixes[] = {"", "k", "m", "g"};

    for (int i = 0; i < 4; i++)
        if (strcasecmp(suffix, suffixes[i]) == 0)
            return 10 * i;
    return -1;
}

static int assign_size(struct target *target)
{
    const char *at = only_item(target->raw);
    int64_t number;

    if (!is_text_or_number(target->raw) || !take_digits(&at, &number))
        return -EINVAL;
    int shift = suffix_shift(at);
    if (shift < 0 || __builtin_mul_overflow(number, (int64_t)1 << shift, &number))
        return -EINVAL;
    return store_number(target, number);
}

/* The digits after the point, as thousandths; what is finer than a millisecond is cut off. */
static bool take_fraction(const char **text, int64_t *ret_thousandths)
{
    int64_t thousandths = 0, scale = 100;
    const char *at = *text;

    for (; isdigit((unsigned char)*at); at++, scale /= 10)
        thousandths += scale * (*at - '0');
    bool any = at != *text;
    *text = at;
    *ret_thousandths = thousandths;
    return any;
}

static int assign_duration(struct target *target)
{
    const char *at = only_item(target->raw);
    int64_t seconds, thousandths = 0, milliseconds;

    if (is_automatic(target))
        return store_automatic(target);
    if (!is_text_or_number(target->raw) || !take_digits(&at, &seconds))
        return -EINVAL;
    if (*at == '.' && (at++, !take_fraction(&at, &thousandths)))
        return -EINVAL;
    if (*at != '\0' || __builtin_mul_overflow(seconds, 1000, &milliseconds) ||
        __builtin_add_overflow(milliseconds, thousandths, &milliseconds))
        return -EINVAL;
    return store_number(target, milliseconds);
}

/* As Gunicorn reads it: a leading 0 or 0o makes a string octal, a number is what it is. */
static int assign_mode(struct target *target)
{
    const char *at = only_item(target->raw);
    int64_t mode = 0;

    if (!is_text_or_number(target->raw))
        return -EINVAL;
    if (target->raw->kind == RAW_NUMBER || at[0] != '0')
        return take_digits(&at, &mode) && *at == '\0' ? store_number(target, mode) : -EINVAL;
    at += at[1] == 'o' ? 2 : 1;
    for (; *at >= '0' && *at <= '7' && mode <= 07777; at++)
        mode = 8 * mode + (*at - '0');
    return *at == '\0' ? store_number(target, mode) : -EINVAL;
}

static int assign_word(struct target *target)
{
    const struct raw_value *raw = target->raw;

    /* A number may be the word: 1.2 of TLS, or one of Python's constants. */
    if (!is_text_or_number(raw) && raw->kind != RAW_BOOL)
        return -EINVAL;
    for (const struct setting_word *word = target->setting->words; word->word != NULL; word++) {
        if (strcasecmp(only_item(raw), word->word) != 0)
            continue;
        target->refusal = word->refusal;
        if (word->refusal != NULL)
            return -EINVAL;
        *(int *)setting_field(target->settings, target->setting) = word->value;
        return 0;
    }
    return -EINVAL;
}

static int store_string(struct target *target, const char *text)
{
    char *copy = NULL;

    if (*text != '\0') {
        copy = settings_arena_string(target->settings->arena, text);
        if (copy == NULL)
            return -ENOMEM;
    }
    *(char **)setting_field(target->settings, target->setting) = copy;
    return 0;
}

static int assign_string(struct target *target)
{
    if (target->raw->kind != RAW_TEXT && target->raw->kind != RAW_NONE)
        return -EINVAL;
    return store_string(target, only_item(target->raw));
}

static int assign_identity(struct target *target)
{
    if (!is_text_or_number(target->raw) && target->raw->kind != RAW_NONE)
        return -EINVAL;
    return store_string(target, only_item(target->raw));
}

static int add_item(struct target *target, const char *text, size_t length)
{
    char *copy = settings_arena_copy(target->settings->arena, text, length);

    if (copy == NULL)
        return -ENOMEM;
    return string_list_add(target->settings->arena, setting_field(target->settings, target->setting), copy);
}

/* Cuts at the separator, without the blanks around an item. Empty items are no items. */
static int add_items_of(struct target *target, const char *text)
{
    char separators[] = {target->setting->separator, '\0'};

    if (target->setting->separator == '\0')
        return *text == '\0' ? 0 : add_item(target, text, strlen(text));
    while (*text != '\0') {
        size_t length = strcspn(text, separators), end = length;
        size_t start = strspn(text, " \t");
        while (end > start && (text[end - 1] == ' ' || text[end - 1] == '\t'))
            end--;
        int result = end > start ? add_item(target, text + start, end - start) : 0;
        if (result < 0)
            return result;
        text += length + (text[length] != '\0');
    }
    return 0;
}

static void begin_list(struct target *target)
{
    if (!target->append)
        *(struct string_list *)setting_field(target->settings, target->setting) = (struct string_list){};
}

static int add_all(struct target *target)
{
    for (size_t i = 0; i < target->raw->items.count; i++) {
        const char *item = target->raw->items.items[i];
        int result = add_item(target, item, strlen(item));
        if (result < 0)
            return result;
    }
    return 0;
}

static int assign_list(struct target *target)
{
    enum raw_kind kind = target->raw->kind;

    if (kind != RAW_TEXT && kind != RAW_LIST && kind != RAW_NONE)
        return -EINVAL;
    begin_list(target);
    return kind == RAW_LIST ? add_all(target) : add_items_of(target, only_item(target->raw));
}

static bool all_pairs(const struct string_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        const char *equals = strchr(list->items[i], '=');
        if (equals == NULL || equals == list->items[i])
            return false;
    }
    return true;
}

static int assign_pairs(struct target *target)
{
    enum raw_kind kind = target->raw->kind;

    if (kind != RAW_TEXT && kind != RAW_PAIRS)
        return -EINVAL;
    begin_list(target);
    int result = kind == RAW_PAIRS ? add_all(target) : add_items_of(target, only_item(target->raw));
    if (result < 0)
        return result;
    return all_pairs(setting_field(target->settings, target->setting)) ? 0 : -EINVAL;
}

static int assign_tables(struct target *target)
{
    const struct raw_value *raw = target->raw;
    bool empty = raw->kind == RAW_NONE || (raw->kind == RAW_LIST && raw->items.count == 0);

    if (raw->kind != RAW_TABLES && !empty)
        return -EINVAL;
    begin_list(target);
    return add_all(target);
}

static int assign_hook(struct target *target)
{
    const char *at = only_item(target->raw);
    int64_t line = 0;

    if (target->raw->kind == RAW_CALLABLE ? !take_digits(&at, &line) : target->raw->kind != RAW_NONE)
        return -EINVAL;
    *(int64_t *)setting_field(target->settings, target->setting) = line;
    return 0;
}

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

static void write_size(const struct setting *, const void *field, FILE *output)
{
    static const char units[] = "KMG";
    int64_t size = *(const int64_t *)field;
    int unit = -1;

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
    int (*assign)(struct target *);
    void (*allow)(const struct setting *, FILE *);
    void (*write)(const struct setting *, const void *field, FILE *);
} types[] = {
    [SETTING_BOOL] = {assign_bool, allow_bool, write_bool},
    [SETTING_COUNT] = {assign_count, allow_count, write_count},
    [SETTING_SIZE] = {assign_size, allow_size, write_size},
    [SETTING_DURATION] = {assign_duration, allow_duration, write_duration},
    [SETTING_MODE] = {assign_mode, allow_mode, write_mode},
    [SETTING_WORD] = {assign_word, allow_word, write_word},
    [SETTING_STRING] = {assign_string, allow_string, write_string},
    [SETTING_IDENTITY] = {assign_identity, allow_identity, write_string},
    [SETTING_LIST] = {assign_list, allow_list, write_list},
    [SETTING_PAIRS] = {assign_pairs, allow_pairs, write_pairs_field},
    [SETTING_TABLES] = {assign_tables, allow_tables, write_tables_field},
    [SETTING_HOOK] = {assign_hook, allow_hook, write_count},
};

void setting_write_allowed(const struct setting *setting, FILE *output)
{
    types[setting->type].allow(setting, output);
}

static void explain(const struct target *target, char expected[SETTING_EXPECTED_BYTES])
{
    /* One octet less than there is: a stream that runs full leaves no NUL of its own. */
    FILE *output = fmemopen(expected, SETTING_EXPECTED_BYTES - 1, "w");

    memset(expected, 0, SETTING_EXPECTED_BYTES);
    if (output == NULL)
        return;
    if (target->refusal != NULL)
        fputs(target->refusal, output);
    else {
        fputs("expected ", output);
        setting_write_allowed(target->setting, output);
    }
    fclose(output);
}

int setting_assign(struct settings *settings, const struct setting *setting, const struct raw_value *raw, bool append,
                   char expected[SETTING_EXPECTED_BYTES])
{
    struct target target = {.settings = settings, .setting = setting, .raw = raw, .append = append};

    assert(setting->field != SETTING_NO_FIELD);
    int result = types[setting->type].assign(&target);
    if (result == -EINVAL)
        explain(&target, expected);
    return result;
}

/* A default is never wrong. */
static int assign_initial(struct settings *settings, const struct setting *setting)
{
    char expected[SETTING_EXPECTED_BYTES];
    char *initial = (char *)setting->initial;
    struct raw_value raw = {.kind = RAW_TEXT, .items = {1, &initial}};

    if (setting->field == SETTING_NO_FIELD || initial == NULL)
        return 0;
    int result = setting_assign(settings, setting, &raw, false, expected);
    assert(result != -EINVAL);
    return result;
}

int settings_assign_defaults(struct settings *settings)
{
    for (size_t i = 0; i < setting_count(); i++) {
        int result = assign_initial(settings, setting_at(i));
        if (result < 0)
            return result;
    }
    return 0;
}

const char *setting_word_of(const struct setting *setting, int value)
{
    for (const struct setting_word *word = setting->words; word->word != NULL; word++)
        if (word->value == value)
            return word->word;
    assert(false);
    return NULL;
}

static bool lists_equal(const struct string_list *left, const struct string_list *right)
{
    if (left->count != right->count)
        return false;
    for (size_t i = 0; i < left->count; i++)
        if (strcmp(left->items[i], right->items[i]) != 0)
            return false;
    return true;
}

static bool strings_equal(const char *left, const char *right)
{
    return left == right || (left != NULL && right != NULL && strcmp(left, right) == 0);
}

bool setting_equal(const struct setting *setting, const struct settings *left, const struct settings *right)
{
    const void *a = setting_field(left, setting), *b = setting_field(right, setting);

    switch (setting->type) {
    case SETTING_BOOL:
        return *(const bool *)a == *(const bool *)b;
    case SETTING_WORD:
        return *(const int *)a == *(const int *)b;
    case SETTING_STRING:
    case SETTING_IDENTITY:
        return strings_equal(*(char *const *)a, *(char *const *)b);
    case SETTING_LIST:
    case SETTING_PAIRS:
    case SETTING_TABLES:
        return lists_equal(a, b);
    default:
        return *(const int64_t *)a == *(const int64_t *)b;
    }
}

static int copy_list(struct settings *to, const struct setting *setting, const struct string_list *from)
{
    struct target target = {.settings = to, .setting = setting, .raw = &(struct raw_value){RAW_LIST, *from}};

    begin_list(&target);
    return add_all(&target);
}

static int copy_string(struct settings *to, const struct setting *setting, const char *from)
{
    struct target target = {.settings = to, .setting = setting};

    return store_string(&target, from == NULL ? "" : from);
}

int setting_copy(const struct setting *setting, struct settings *to, const struct settings *from)
{
    void *destination = setting_field(to, setting);
    const void *source = setting_field(from, setting);

    switch (setting->type) {
    case SETTING_BOOL:
        *(bool *)destination = *(const bool *)source;
        return 0;
    case SETTING_WORD:
        *(int *)destination = *(const int *)source;
        return 0;
    case SETTING_STRING:
    case SETTING_IDENTITY:
        return copy_string(to, setting, *(char *const *)source);
    case SETTING_LIST:
    case SETTING_PAIRS:
    case SETTING_TABLES:
        return copy_list(to, setting, source);
    default:
        *(int64_t *)destination = *(const int64_t *)source;
        return 0;
    }
}

void setting_write(const struct setting *setting, const struct settings *settings, FILE *output)
{
    types[setting->type].write(setting, setting_field(settings, setting), output);
}

void raw_value_write(const struct raw_value *raw, FILE *output)
{
    switch (raw->kind) {
    case RAW_TEXT:
        toml_string_write(only_item(raw), output);
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
        fputs(only_item(raw), output);
        break;
    }
}
