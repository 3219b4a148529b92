#include "config/command_line.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

struct parser {
    const struct string_list *arguments;
    size_t next;
    bool options_ended;
    bool has_application;
    const char *source;
    struct settings_arena *arena;
    struct command_line *command_line;
    char *message;
};

/* One option, taken apart: --NAME=VALUE, or -N with what follows it in the same argument. */
struct option {
    const char *written; /* what a complaint shows, "--workers" */
    const char *value;   /* in the same argument; NULL: none */
    const struct setting *setting;
    bool negated;
};

static const struct {
    const char *flag;
    enum command_line_request request;
} requests[] = {
    {"-h", COMMAND_LINE_HELP},
    {"--help", COMMAND_LINE_HELP},
    {"-v", COMMAND_LINE_VERSION},
    {"--version", COMMAND_LINE_VERSION},
    {"--print-default-config", COMMAND_LINE_DEFAULT_CONFIG},
    {"--print-settings-reference", COMMAND_LINE_REFERENCE},
    {"--print-manual-options", COMMAND_LINE_MANUAL_OPTIONS},
    {"--print-manual-settings", COMMAND_LINE_MANUAL_SETTINGS},
};

static struct assignment_place place_of(const struct parser *parser, const char *key)
{
    return (struct assignment_place){.source = parser->source, .key = key};
}

static bool same_flag(const char *written, const char *flag, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (written[i] != flag[i] &&
            !(i >= 2 && (written[i] == '-' || written[i] == '_') && (flag[i] == '-' || flag[i] == '_')))
            return false;
    return written[length] == '\0';
}

static bool has_flag(const struct setting *setting, const char *written)
{
    const char *flag = setting->flags;

    while (flag != NULL && *flag != '\0') {
        size_t length = strcspn(flag, " ");
        if (same_flag(written, flag, length))
            return true;
        flag += length + strspn(flag + length, " ");
    }
    return false;
}

static const struct setting *find_flag(const char *written)
{
    for (size_t i = 0; i < setting_count(); i++)
        if (has_flag(setting_at(i), written))
            return setting_at(i);
    return NULL;
}

static bool find_negated(const char *name, const struct setting **ret_setting)
{
    const struct setting *setting;

    if (strncmp(name, "no-", 3) != 0 && strncmp(name, "no_", 3) != 0)
        return false;
    setting = setting_find(name + 3);
    if (setting == NULL || setting->type != SETTING_BOOL)
        return false;
    *ret_setting = setting;
    return true;
}

/* `--no-sendfile` is an exact flag of no row, so it is the negation of `sendfile`; --no-control-socket is a flag. */
static void find_long(struct option *option)
{
    option->setting = find_flag(option->written);
    if (option->setting == NULL)
        option->setting = setting_find(option->written + 2);
    if (option->setting == NULL)
        option->negated = find_negated(option->written + 2, &option->setting);
}

static int complain_unknown(struct parser *parser, const struct option *option)
{
    struct assignment_place place = place_of(parser, NULL);
    const struct setting *nearest = strlen(option->written) > 3 ? setting_nearest(option->written + 2) : NULL;

    if (nearest == NULL)
        return place_complain(&place, parser->message, "unknown option %s; --help lists them all", option->written);
    return place_complain(&place, parser->message, "unknown option %s; the nearest setting is --%s", option->written,
                          nearest->name);
}

static bool is_word_of(const struct setting *setting, const char *text)
{
    for (const struct setting_word *word = setting->words; word != NULL && word->word != NULL; word++)
        if (strcasecmp(word->word, text) == 0)
            return true;
    return false;
}

static const char *next_argument(struct parser *parser)
{
    return parser->next < parser->arguments->count ? parser->arguments->items[parser->next++] : NULL;
}

/* A flag that can stand alone takes the next argument only when that is one of its words. */
static const char *value_when_alone(struct parser *parser, const struct setting *setting)
{
    const struct string_list *arguments = parser->arguments;

    if (parser->next < arguments->count && is_word_of(setting, arguments->items[parser->next]))
        return next_argument(parser);
    return setting->alone;
}

/* NULL: the value is missing. */
static const char *value_of(struct parser *parser, const struct option *option)
{
    if (option->negated)
        return "false";
    if (option->value != NULL)
        return option->value;
    if (option->setting->type == SETTING_BOOL)
        return "true";
    if (option->setting->alone != NULL)
        return value_when_alone(parser, option->setting);
    return next_argument(parser);
}

static int take_option(struct parser *parser, const struct option *option)
{
    struct assignment_place place = place_of(parser, option->written);
    const char *value;

    if (option->setting == NULL)
        return complain_unknown(parser, option);
    if (option->negated && option->value != NULL)
        return place_complain(&place, parser->message, "%s takes no value", option->written);
    value = value_of(parser, option);
    if (value == NULL)
        return place_complain(&place, parser->message, "%s needs a value", option->written);
    return assignment_add_text(parser->arena, &parser->command_line->assignments, option->setting, value, place);
}

static int take_long(struct parser *parser, const char *argument)
{
    size_t length = strcspn(argument, "=");
    struct option option = {.written = settings_arena_copy(parser->arena, argument, length)};

    if (option.written == NULL)
        return -ENOMEM;
    if (argument[length] == '=')
        option.value = argument + length + 1;
    find_long(&option);
    return take_option(parser, &option);
}

static bool stands_alone(const struct setting *setting)
{
    return setting != NULL && (setting->type == SETTING_BOOL || setting->alone != NULL);
}

/* -w2 carries its value; letters behind a flag without a value are flags of their own. */
static int take_short(struct parser *parser, const char *argument)
{
    for (const char *letter = argument + 1; *letter != '\0'; letter++) {
        struct option option = {.written = settings_arena_print(parser->arena, "-%c", *letter)};
        if (option.written == NULL)
            return -ENOMEM;
        option.setting = find_flag(option.written);
        bool last = option.setting != NULL && !stands_alone(option.setting);
        if (last && letter[1] != '\0')
            option.value = letter + 1 + (letter[1] == '=');
        int result = take_option(parser, &option);
        if (result < 0 || last)
            return result;
    }
    return 0;
}

static bool take_request(struct parser *parser, const char *argument)
{
    for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++)
        if (strcmp(argument, requests[i].flag) == 0) {
            parser->command_line->request = requests[i].request;
            return true;
        }
    return false;
}

static int take_application(struct parser *parser, const char *argument)
{
    struct assignment_place place = place_of(parser, "APP");

    if (parser->has_application)
        return place_complain(&place, parser->message,
                              "\"%s\" is one argument too many: the application is named already", argument);
    parser->has_application = true;
    return assignment_add_text(parser->arena, &parser->command_line->assignments, setting_find("wsgi_app"), argument,
                               place);
}

static int take_argument(struct parser *parser, const char *argument)
{
    if (parser->options_ended || argument[0] != '-' || argument[1] == '\0')
        return take_application(parser, argument);
    if (strcmp(argument, "--") == 0) {
        parser->options_ended = true;
        return 0;
    }
    if (take_request(parser, argument))
        return 0;
    return argument[1] == '-' ? take_long(parser, argument) : take_short(parser, argument);
}

int command_line_parse(const struct string_list *arguments, const char *source, struct settings_arena *arena,
                       struct command_line *ret_command_line, char message[SETTINGS_MESSAGE_BYTES])
{
    struct command_line command_line = {};
    struct parser parser = {
        .arguments = arguments, .source = source, .arena = arena, .command_line = &command_line, .message = message};

    for (const char *argument; (argument = next_argument(&parser)) != NULL;) {
        int result = take_argument(&parser, argument);
        if (result < 0)
            return result;
    }
    *ret_command_line = command_line;
    return 0;
}

/* Copies one shell word to `word`, which has room for all that is left. False: a quote is not closed. */
static bool take_shell_word(const char **text, char *word)
{
    char quote = '\0';
    const char *at = *text;

    for (; *at != '\0' && (quote != '\0' || strchr(" \t\n", *at) == NULL); at++) {
        if (quote == '\0' && (*at == '\'' || *at == '"'))
            quote = *at;
        else if (*at == quote)
            quote = '\0';
        else if (*at == '\\' && quote != '\'' && at[1] != '\0')
            *word++ = *++at;
        else
            *word++ = *at;
    }
    *word = '\0';
    *text = at;
    return quote == '\0';
}

int command_line_split(const char *text, struct settings_arena *arena, struct string_list *ret_arguments)
{
    struct string_list arguments = {};

    for (text += strspn(text, " \t\n"); *text != '\0'; text += strspn(text, " \t\n")) {
        char *word = settings_arena_take(arena, strlen(text) + 1);
        if (word == NULL)
            return -ENOMEM;
        if (!take_shell_word(&text, word))
            return -EINVAL;
        int result = string_list_add(arena, &arguments, word);
        if (result < 0)
            return result;
    }
    *ret_arguments = arguments;
    return 0;
}
