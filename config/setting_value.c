#include "config/setting_value.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "config/setting_toml.h"
#include "config/settings_arena.h"

/* One assignment under way. */
struct target {
    struct settings *settings;
    const struct setting *setting;
    const struct raw_value *raw;
    bool append;
    const char *refusal; /* set by a function that has more to say than what is expected */
};

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
           strcasecmp(raw_value_text(target->raw), target->setting->automatic) == 0;
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
        if (strcasecmp(raw_value_text(target->raw), words[i].word) == 0) {
            *(bool *)setting_field(target->settings, target->setting) = words[i].value;
            return 0;
        }
    return -EINVAL;
}

static int assign_count(struct target *target)
{
    const char *at = raw_value_text(target->raw);
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
    const char *at = raw_value_text(target->raw);
    int64_t number;

    if (is_automatic(target))
        return store_automatic(target);
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
    const char *at = raw_value_text(target->raw);
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
    const char *at = raw_value_text(target->raw);
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
        if (strcasecmp(raw_value_text(raw), word->word) != 0)
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
    return store_string(target, raw_value_text(target->raw));
}

static int assign_identity(struct target *target)
{
    if (!is_text_or_number(target->raw) && target->raw->kind != RAW_NONE)
        return -EINVAL;
    return store_string(target, raw_value_text(target->raw));
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
    return kind == RAW_LIST ? add_all(target) : add_items_of(target, raw_value_text(target->raw));
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
    int result = kind == RAW_PAIRS ? add_all(target) : add_items_of(target, raw_value_text(target->raw));
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
    const char *at = raw_value_text(target->raw);
    int64_t line = 0;

    if (target->raw->kind == RAW_CALLABLE ? !take_digits(&at, &line) : target->raw->kind != RAW_NONE)
        return -EINVAL;
    *(int64_t *)setting_field(target->settings, target->setting) = line;
    return 0;
}

static int (*const assign[])(struct target *) = {
    [SETTING_BOOL] = assign_bool,         [SETTING_COUNT] = assign_count,       [SETTING_SIZE] = assign_size,
    [SETTING_DURATION] = assign_duration, [SETTING_MODE] = assign_mode,         [SETTING_WORD] = assign_word,
    [SETTING_STRING] = assign_string,     [SETTING_IDENTITY] = assign_identity, [SETTING_LIST] = assign_list,
    [SETTING_PAIRS] = assign_pairs,       [SETTING_TABLES] = assign_tables,     [SETTING_HOOK] = assign_hook,
};

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
    int result = assign[setting->type](&target);
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
