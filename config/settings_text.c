#include "config/settings_text.h"

#include <assert.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "config/setting_toml.h"

enum { HELP_COLUMN = 30, FLAGS_BYTES = 128, FILE_WIDTH = 100 };

/* What stands for the value of an option in the help. */
static const char *const placeholders[] = {
    [SETTING_BOOL] = "",     [SETTING_COUNT] = "N",     [SETTING_SIZE] = "BYTES",  [SETTING_DURATION] = "SECONDS",
    [SETTING_MODE] = "MODE", [SETTING_WORD] = "WORD",   [SETTING_STRING] = "TEXT", [SETTING_IDENTITY] = "NAME",
    [SETTING_LIST] = "LIST", [SETTING_PAIRS] = "PAIRS", [SETTING_TABLES] = "",     [SETTING_HOOK] = "",
};

/* Words of `text` in lines of at most `width` columns. The first begins at `column`, the others behind `indent`. */
static void write_wrapped(FILE *output, const char *text, size_t column, const char *indent, size_t width)
{
    bool first = true;

    while (*text != '\0') {
        size_t length = strcspn(text, " ");
        if (!first && column + 1 + length > width) {
            fprintf(output, "\n%s", indent);
            column = strlen(indent);
            first = true;
        }
        fprintf(output, "%s%.*s", first ? "" : " ", (int)length, text);
        column += length + !first;
        first = false;
        text += length + (text[length] == ' ');
    }
    fputc('\n', output);
}

static void dashed_name(const struct setting *setting, char name[FLAGS_BYTES])
{
    size_t i = 0;

    for (; setting->name[i] != '\0' && i + 1 < FLAGS_BYTES; i++)
        name[i] = setting->name[i] == '_' ? '-' : setting->name[i];
    name[i] = '\0';
}

static bool is_on(const struct setting *setting)
{
    return setting->type == SETTING_BOOL && setting->initial != NULL && strcmp(setting->initial, "true") == 0;
}

/* "-w, --workers N" */
static void usage_of(const struct setting *setting, char usage[FLAGS_BYTES])
{
    char name[FLAGS_BYTES];
    FILE *output = fmemopen(usage, FLAGS_BYTES - 1, "w");

    memset(usage, 0, FLAGS_BYTES);
    if (output == NULL)
        return;
    dashed_name(setting, name);
    if (is_on(setting))
        fprintf(output, "--no-%s", name);
    else if (setting->flags == NULL)
        fprintf(output, "--%s", name);
    else
        for (const char *at = setting->flags; *at != '\0'; at++)
            fputs(*at == ' ' ? ", " : (char[]){*at, '\0'}, output);
    if (setting->type != SETTING_BOOL)
        fprintf(output, setting->alone == NULL ? " %s" : "[=%s]", placeholders[setting->type]);
    fclose(output);
}

static bool begins_group(size_t index)
{
    const struct setting *setting = setting_at(index);

    return index == 0 || setting_at(index - 1)->group == NULL ||
           strcmp(setting->group, setting_at(index - 1)->group) != 0;
}

static void write_option(FILE *output, const char *usage, const char *help, size_t width)
{
    static const char indent[] = "                              ";
    static_assert(sizeof(indent) - 1 == HELP_COLUMN);

    if (strlen(usage) + 4 > HELP_COLUMN)
        fprintf(output, "  %s\n%s", usage, indent);
    else
        fprintf(output, "  %-*s", HELP_COLUMN - 2, usage);
    write_wrapped(output, help, HELP_COLUMN, indent, width);
}

/* The first sentence is enough here; the reference page has the rest. */
static void write_help_row(FILE *output, const struct setting *setting, size_t width)
{
    char usage[FLAGS_BYTES], help[512];
    const char *end = strstr(setting->help, ". ");
    int length = end == NULL ? (int)strlen(setting->help) : (int)(end - setting->help) + 1;

    usage_of(setting, usage);
    if (is_on(setting))
        snprintf(help, sizeof(help), "Turn off: %.*s", length, setting->help);
    else if (setting->initial != NULL && setting->type != SETTING_BOOL && setting->initial[0] != '\0')
        snprintf(help, sizeof(help), "%.*s (default: %s)", length, setting->help, setting->initial);
    else
        snprintf(help, sizeof(help), "%.*s", length, setting->help);
    write_option(output, usage, help, width);
}

static bool is_in_help(const struct setting *setting)
{
    bool is_option = setting->type != SETTING_HOOK && setting->type != SETTING_TABLES;

    return setting->group != NULL && setting->status == SETTING_EFFECTIVE && is_option;
}

void settings_print_help(FILE *output, size_t width)
{
    const char *group = "";

    fputs("usage: uroboros [OPTIONS] [APP]\n\n", output);
    write_wrapped(
        output,
        "Serves the Python application APP, written MODULE:ATTRIBUTE, WSGI or ASGI. Every option is a setting "
        "and has one name everywhere: --head-timeout here, head_timeout in a file, UROBOROS_HEAD_TIMEOUT in "
        "the environment. Options win over the environment, the environment over the file.",
        0, "", width);
    for (size_t i = 0; i < setting_count(); i++) {
        if (!is_in_help(setting_at(i)))
            continue;
        if (strcmp(group, setting_at(i)->group) != 0)
            fprintf(output, "\n%s:\n", setting_at(i)->group);
        group = setting_at(i)->group;
        write_help_row(output, setting_at(i), width);
    }
    fputs("\nOther:\n", output);
    write_option(output, "-h, --help", "Print this and exit.", width);
    write_option(output, "-v, --version", "Print the version and exit.", width);
    write_option(output, "--print-default-config", "Print a settings file with every default and exit.", width);
    fputc('\n', output);
    write_wrapped(output, "Gunicorn's other options are known too; docs/settings.md says of each what it does here.", 0,
                  "", width);
}

static void write_origin(FILE *output, const struct assignment *origin)
{
    if (origin == NULL)
        fputs("default", output);
    else if (origin->place.line > 0)
        fprintf(output, "%s, line %ld", origin->place.source, (long)origin->place.line);
    else
        fprintf(output, "%s, %s", origin->place.source, origin->place.key);
}

static void print_value(FILE *output, const struct setting *setting, const struct settings *settings,
                        const struct assignment *origin)
{
    fprintf(output, "%s = ", setting->name);
    setting_write(setting, settings, output);
    fputs("  # ", output);
    write_origin(output, origin);
    fputc('\n', output);
}

/* TOML has no functions, so a hook is a comment. */
static void print_hook(FILE *output, const struct setting *setting, const struct assignment *origin)
{
    if (origin == NULL)
        return;
    fprintf(output, "# %s is a function of ", setting->name);
    write_origin(output, origin);
    fputc('\n', output);
}

void settings_print_values(FILE *output, const struct settings *settings, const struct assignment *const *origins)
{
    for (size_t i = 0; i < setting_count(); i++) {
        const struct setting *setting = setting_at(i);
        if (setting->group == NULL || setting->field == SETTING_NO_FIELD)
            continue;
        if (setting->type == SETTING_HOOK)
            print_hook(output, setting, origins[i]);
        else
            print_value(output, setting, settings, origins[i]);
    }
}

static const char *status_text(const struct setting *setting)
{
    static const char *const texts[] = {
        [SETTING_EFFECTIVE] = NULL,
        [SETTING_NO_EFFECT_YET] = "Has no effect yet: ",
        [SETTING_NO_EFFECT] = "Has no effect: ",
        [SETTING_REFUSED] = "Refused: ",
    };
    return texts[setting->status];
}

static void write_file_row(FILE *output, const struct setting *setting, const struct settings *defaults)
{
    fputs("\n# ", output);
    write_wrapped(output, setting->help, 2, "# ", FILE_WIDTH);
    if (setting->status != SETTING_EFFECTIVE)
        fprintf(output, "# %s%s.\n", status_text(setting), setting->reason);
    fputs("# Allowed: ", output);
    setting_write_allowed(setting, output);
    fprintf(output, ".\n#%s = ", setting->name);
    setting_write(setting, defaults, output);
    fputc('\n', output);
}

/* A file says neither where it is itself nor what only a call can want. */
static bool belongs_in_file(const struct setting *setting)
{
    return setting->group != NULL && setting->field != SETTING_NO_FIELD && setting->type != SETTING_HOOK &&
           strcmp(setting->name, "config") != 0 && strcmp(setting->name, "check_config") != 0 &&
           strcmp(setting->name, "print_config") != 0;
}

void settings_print_default_file(FILE *output, const struct settings *defaults)
{
    const char *group = "";

    fputs("# Settings of uroboros, all at their defaults. Remove the # before a line to change it.\n"
          "# Made by: uroboros --print-default-config\n",
          output);
    for (size_t i = 0; i < setting_count(); i++) {
        const struct setting *setting = setting_at(i);
        if (!belongs_in_file(setting))
            continue;
        if (strcmp(group, setting->group) != 0)
            fprintf(output, "\n\n# ---- %s ----\n", setting->group);
        group = setting->group;
        write_file_row(output, setting, defaults);
    }
}

/* The manual ------------------------------------------------------------------------------------------------------ */

/* Text as roff takes it: a dash that can be copied, quotes that stay straight, no line that begins like a request. */
static void write_roff(FILE *output, const char *text)
{
    static const char *const escapes[256] = {['\\'] = "\\e", ['-'] = "\\-", ['`'] = "\\(ga", ['\''] = "\\(aq"};

    if (*text == '.')
        fputs("\\&", output);
    for (; *text != '\0'; text++) {
        const char *escape = escapes[(unsigned char)*text];
        if (escape == NULL)
            fputc(*text, output);
        else
            fputs(escape, output);
    }
}

/* "Allowed: a whole number, 1 or more. Default: 2048." */
static void write_manual_values(FILE *output, const struct setting *setting, const struct settings *defaults)
{
    char *text = NULL;
    size_t bytes;
    FILE *values = open_memstream(&text, &bytes);

    if (values == NULL)
        return;
    fputs("Allowed: ", values);
    setting_write_allowed(setting, values);
    if (setting->initial != NULL) {
        fputs(". Default: ", values);
        setting_write(setting, defaults, values);
    }
    fputc('.', values);
    if (fclose(values) == 0) {
        fputs(".br\n", output);
        write_roff(output, text);
        fputc('\n', output);
    }
    free(text);
}

static void write_manual_row(FILE *output, const struct setting *setting, const struct settings *defaults)
{
    fputs(".TP\n.B ", output);
    write_roff(output, setting->name);
    fputc('\n', output);
    write_roff(output, setting->help);
    fputc('\n', output);
    if (setting->status != SETTING_EFFECTIVE) {
        write_roff(output, status_text(setting));
        write_roff(output, setting->reason);
        fputs(".\n", output);
    }
    write_manual_values(output, setting, defaults);
}

void settings_print_manual_settings(FILE *output, const struct settings *defaults)
{
    const char *group = "";

    for (size_t i = 0; i < setting_count(); i++) {
        const struct setting *setting = setting_at(i);
        if (!belongs_in_file(setting))
            continue;
        if (strcmp(group, setting->group) != 0)
            fprintf(output, ".SS %s\n", setting->group);
        group = setting->group;
        write_manual_row(output, setting, defaults);
    }
}

void settings_print_manual_options(FILE *output)
{
    const char *group = "";
    char usage[FLAGS_BYTES];

    for (size_t i = 0; i < setting_count(); i++) {
        const struct setting *setting = setting_at(i);
        if (!is_in_help(setting))
            continue;
        if (strcmp(group, setting->group) != 0)
            fprintf(output, ".SS %s\n", setting->group);
        group = setting->group;
        usage_of(setting, usage);
        fputs(".TP\n.B ", output);
        write_roff(output, usage);
        fputc('\n', output);
        write_roff(output, is_on(setting) ? "Turn off: " : "");
        write_roff(output, setting->help);
        fputc('\n', output);
    }
}

/* The reference page ----------------------------------------------------------------------------------------------- */

static void write_default(FILE *output, const struct setting *setting, const struct settings *defaults)
{
    if (setting->initial == NULL || setting->field == SETTING_NO_FIELD) {
        fputs("- Default: not set\n", output);
        return;
    }
    fputs("- Default: `", output);
    setting_write(setting, defaults, output);
    fputs("`\n", output);
}

static void write_spellings(FILE *output, const struct setting *setting)
{
    char usage[FLAGS_BYTES];

    if (setting->type == SETTING_HOOK) {
        fputs("- Written as a function of this name in a Python settings file\n", output);
        return;
    }
    if (setting->type == SETTING_TABLES) {
        fprintf(output, "- Written as tables `[[%s]]` in a TOML file, as a list of dictionaries in a Python one\n",
                setting->name);
        return;
    }
    usage_of(setting, usage);
    fprintf(output, "- Command line: `%s`; environment: `UROBOROS_", usage);
    for (const char *at = setting->name; *at != '\0'; at++)
        fputc(toupper((unsigned char)*at), output);
    fputs("`\n", output);
}

static void write_users(FILE *output, const struct setting *setting)
{
    static const struct {
        enum setting_process process;
        const char *name;
    } names[] = {{SETTING_SUPERVISOR, "supervisor"}, {SETTING_IO, "I/O processes"}, {SETTING_APP, "app processes"}};
    const char *before = "- Used by: ";

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if ((setting->processes & names[i].process) == 0)
            continue;
        fprintf(output, "%s%s", before, names[i].name);
        before = ", ";
    }
    fprintf(output, "; a reload %s\n",
            setting->reload == SETTING_RELOADS ? "applies it" : "reports that it needs a restart");
}

static void write_reference_row(FILE *output, const struct setting *setting, const struct settings *defaults)
{
    fprintf(output, "\n### %s\n\n%s\n", setting->name, setting->help);
    if (setting->status != SETTING_EFFECTIVE)
        fprintf(output, "\n**%s%s.**\n", status_text(setting), setting->reason);
    if (setting->field == SETTING_NO_FIELD)
        return;
    fputc('\n', output);
    if (setting->type != SETTING_HOOK) {
        fputs("- Allowed: ", output);
        setting_write_allowed(setting, output);
        fputc('\n', output);
        write_default(output, setting, defaults);
    }
    write_spellings(output, setting);
    write_users(output, setting);
}

void settings_print_reference(FILE *output, const struct settings *defaults)
{
    fputs(
        "# Settings\n\n"
        "Made by `uroboros --print-settings-reference` from the table in `config/schema.c`.\n\n"
        "A setting has one name. `head_timeout` is `--head-timeout` on the command line, `head_timeout` in a file (or "
        "`timeout` in a table `[head]`), and `UROBOROS_HEAD_TIMEOUT` in the environment. What is set in several "
        "places counts in this order, the last one wins: defaults, the file, `GUNICORN_CMD_ARGS`, `UROBOROS_*`, the "
        "command line. `PORT`, `WEB_CONCURRENCY`, `FORWARDED_ALLOW_IPS` and `SENDFILE` in the environment replace "
        "defaults.\n",
        output);
    for (size_t i = 0; i < setting_count(); i++) {
        const struct setting *setting = setting_at(i);
        if (setting->group == NULL)
            continue;
        if (begins_group(i))
            fprintf(output, "\n## %s\n", setting->group);
        write_reference_row(output, setting, defaults);
    }
}
