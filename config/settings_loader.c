#include "config/settings_loader.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "config/command_line.h"
#include "config/environment.h"
#include "config/file_reader.h"
#include "config/settings_resolve.h"
#include "config/settings_text.h"

/* The weakest first. */
enum source { SOURCE_PLATFORM, SOURCE_FILE, SOURCE_GUNICORN, SOURCE_ENVIRONMENT, SOURCE_COMMAND_LINE, SOURCE_COUNT };

enum { WIDTH_MIN = 60, WIDTH_USUAL = 80, WIDTH_MAX = 120, FILE_TIMEOUT_MS = 10'000 };

struct loader {
    struct settings settings;
    struct settings defaults; /* shares the arena */
    struct assignment_list sources[SOURCE_COUNT];
    const struct assignment **origins; /* by row: who set the value last; NULL: the default holds */
    bool *seen;                        /* by row: the source being applied has set it already */
    struct string_list file_environ;
    struct string_list warnings;
    enum command_line_request request;
    char *message;
};

static struct settings_arena *arena_of(struct loader *loader)
{
    return loader->settings.arena;
}

static int init_loader(struct loader *loader, const char *start_directory, char *message)
{
    *loader = (struct loader){.message = message, .settings.arena = settings_arena_create()};
    if (arena_of(loader) == NULL)
        return -ENOMEM;
    loader->defaults.arena = arena_of(loader);
    loader->origins = settings_arena_take(arena_of(loader), setting_count() * sizeof(*loader->origins));
    loader->seen = settings_arena_take(arena_of(loader), setting_count() * sizeof(*loader->seen));
    loader->settings.start_directory = settings_arena_string(arena_of(loader), start_directory);
    if (loader->origins == NULL || loader->seen == NULL || loader->settings.start_directory == NULL)
        return -ENOMEM;
    return settings_assign_defaults(&loader->defaults);
}

static int parse_arguments(struct loader *loader, const struct string_list *arguments, enum source source,
                           const char *name)
{
    struct command_line parsed;

    int result = command_line_parse(arguments, name, arena_of(loader), &parsed, loader->message);
    if (result < 0)
        return result;
    loader->sources[source] = parsed.assignments;
    if (source == SOURCE_COMMAND_LINE)
        loader->request = parsed.request;
    return 0;
}

static int collect_gunicorn(struct loader *loader)
{
    static const char variable[] = "GUNICORN_CMD_ARGS";
    static const struct assignment_place place = {.source = "environment"};
    const char *text = environment_value(environ, variable);
    struct string_list arguments;

    if (text == NULL)
        return 0;
    int result = command_line_split(text, arena_of(loader), &arguments);
    if (result == -EINVAL)
        return place_complain(&place, loader->message, "%s: a quote is not closed", variable);
    return result < 0 ? result : parse_arguments(loader, &arguments, SOURCE_GUNICORN, variable);
}

static int collect(struct loader *loader, int argc, char **argv)
{
    struct string_list arguments = {.count = argc > 0 ? (size_t)argc - 1 : 0, .items = argv + 1};

    int result = parse_arguments(loader, &arguments, SOURCE_COMMAND_LINE, "command line");
    if (result == 0)
        result = environment_defaults(environ, arena_of(loader), &loader->sources[SOURCE_PLATFORM]);
    if (result == 0)
        result = collect_gunicorn(loader);
    if (result == 0)
        result = environment_settings(environ, arena_of(loader), &loader->sources[SOURCE_ENVIRONMENT],
                                      &loader->warnings, loader->message);
    return result;
}

/* A value without a field is compared as it is written. */
static bool is_foreign_default(const struct assignment *assignment)
{
    const char *initial = assignment->setting->initial == NULL ? "" : assignment->setting->initial;
    const struct string_list *items = &assignment->raw.items;

    if (assignment->raw.kind == RAW_NONE || items->count == 0)
        return true;
    return items->count == 1 && strcasecmp(items->items[0], initial) == 0;
}

static bool is_default(const struct loader *loader, const struct assignment *assignment)
{
    if (assignment->setting->field == SETTING_NO_FIELD)
        return is_foreign_default(assignment);
    return setting_equal(assignment->setting, &loader->settings, &loader->defaults);
}

static int apply(struct loader *loader, const struct assignment *assignment)
{
    const struct setting *setting = assignment->setting;
    size_t row = setting_index(setting);
    char expected[SETTING_EXPECTED_BYTES];

    if (setting->field != SETTING_NO_FIELD) {
        int result = setting_assign(&loader->settings, setting, &assignment->raw, loader->seen[row], expected);
        if (result == -EINVAL)
            assignment_complain(assignment, expected, loader->message);
        if (result < 0)
            return result;
    }
    if (setting->status == SETTING_REFUSED && !is_default(loader, assignment)) {
        assignment_complain(assignment, setting->reason, loader->message);
        return -EINVAL;
    }
    loader->origins[row] = assignment;
    loader->seen[row] = true;
    return 0;
}

static int apply_source(struct loader *loader, const struct assignment_list *list)
{
    memset(loader->seen, 0, setting_count() * sizeof(*loader->seen));
    for (size_t i = 0; i < list->count; i++) {
        int result = apply(loader, &list->items[i]);
        if (result < 0)
            return result;
    }
    return 0;
}

static int apply_all(struct loader *loader)
{
    char *start_directory = loader->settings.start_directory;

    memset(loader->origins, 0, setting_count() * sizeof(*loader->origins));
    loader->settings = (struct settings){.arena = arena_of(loader), .start_directory = start_directory};
    int result = settings_assign_defaults(&loader->settings);
    for (size_t i = 0; i < SOURCE_COUNT && result == 0; i++)
        result = apply_source(loader, &loader->sources[i]);
    return result;
}

static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), end_length = strlen(end);

    return length >= end_length && strcmp(text + length - end_length, end) == 0;
}

/* `path` may carry the word "file:" or "python:" that Gunicorn has for it. */
static int describe_file(struct loader *loader, const char *path, struct settings_file *ret_file)
{
    struct settings_file file = {.kind = SETTINGS_FILE_MODULE,
                                 .name = path + strlen("python:"),
                                 .shown = path,
                                 .directory = loader->settings.chdir,
                                 .timeout_ms = FILE_TIMEOUT_MS};

    if (strncmp(path, "python:", strlen("python:")) != 0) {
        path += strncmp(path, "file:", strlen("file:")) == 0 ? strlen("file:") : 0;
        file.name = file.shown = settings_absolute_path(arena_of(loader), file.directory, path);
        if (file.name == NULL)
            return -ENOMEM;
        file.kind = ends_with(path, ".toml") ? SETTINGS_FILE_TOML : SETTINGS_FILE_PYTHON;
    }
    *ret_file = file;
    return 0;
}

/* 0 or -ENOMEM; *ret_path is NULL when there is no file to read. */
static int choose_file(struct loader *loader, const char **ret_path)
{
    static const char *const usual[] = {"uroboros.toml", "gunicorn.conf.py"};
    const char *chosen = loader->settings.config;

    for (size_t i = 0; i < sizeof(usual) / sizeof(usual[0]) && chosen == NULL; i++) {
        const char *path = settings_absolute_path(arena_of(loader), loader->settings.chdir, usual[i]);
        if (path == NULL)
            return -ENOMEM;
        if (access(path, F_OK) == 0)
            chosen = path;
    }
    *ret_path = chosen;
    return 0;
}

static int choose_interpreter(struct loader *loader, struct settings_file *file)
{
    bool is_data = file->kind == SETTINGS_FILE_TOML;

    file->interpreter =
        is_data ? settings_system_python(arena_of(loader), environ) : settings_file_python(&loader->settings, environ);
    return file->interpreter == NULL ? -ENOMEM : 0;
}

static void complain_resolve(struct loader *loader, const struct resolve_complaint *complaint)
{
    const struct assignment *origin = loader->origins[setting_index(complaint->setting)];

    if (origin != NULL)
        assignment_complain(origin, complaint->text, loader->message);
    else
        snprintf(loader->message, SETTINGS_MESSAGE_BYTES, "uroboros: %s: %s", complaint->setting->name,
                 complaint->text);
}

static int check_directory(struct loader *loader)
{
    struct resolve_complaint complaint = {.setting = setting_find("chdir")};

    if (access(loader->settings.chdir, X_OK) == 0)
        return 0;
    snprintf(complaint.text, sizeof(complaint.text), "%s", strerror(errno));
    complain_resolve(loader, &complaint);
    return -EINVAL;
}

/* What must be known before a file can be found and executed comes from the other sources. */
static int read_file(struct loader *loader, char **ret_config)
{
    const char *path = NULL;
    struct settings_file file;

    int result = settings_resolve_directory(&loader->settings);
    if (result == 0)
        result = check_directory(loader);
    if (result == 0)
        result = settings_resolve_python(&loader->settings, environ);
    if (result == 0)
        result = choose_file(loader, &path);
    if (result < 0 || path == NULL)
        return result;
    result = describe_file(loader, path, &file);
    if (result == 0)
        result = choose_interpreter(loader, &file);
    if (result < 0)
        return result;
    *ret_config = (char *)file.shown;
    return file_reader_read(&file, arena_of(loader), &loader->sources[SOURCE_FILE], &loader->file_environ,
                            &loader->warnings, loader->message);
}

static bool somebody_set(const struct loader *loader, const char *name)
{
    return loader->origins[setting_index(setting_find(name))] != NULL;
}

static int resolve(struct loader *loader)
{
    struct resolve_complaint complaint;
    const struct resolve_context context = {
        .environment = environ,
        .warnings = &loader->warnings,
        .names_bind = somebody_set(loader, "bind"),
        .names_http_protocols = somebody_set(loader, "http_protocols"),
    };

    int result = settings_resolve(&loader->settings, &context, &complaint);
    if (result == -EINVAL)
        complain_resolve(loader, &complaint);
    return result;
}

static int warn_without_effect(struct loader *loader, const struct assignment *assignment)
{
    const struct setting *setting = assignment->setting;
    const char *adverb = setting->status == SETTING_NO_EFFECT_YET ? " yet" : "";
    char line[32] = "";

    if (assignment->place.line > 0)
        snprintf(line, sizeof(line), ", line %ld", (long)assignment->place.line);
    char *warning = settings_arena_print(arena_of(loader), "%s%s: %s has no effect%s: %s", assignment->place.source,
                                         line, setting->name, adverb, setting->reason);
    return warning == NULL ? -ENOMEM : string_list_add(arena_of(loader), &loader->warnings, warning);
}

static int warn_all(struct loader *loader)
{
    for (size_t i = 0; i < setting_count(); i++) {
        const struct assignment *origin = loader->origins[i];
        if (origin == NULL || origin->setting->status == SETTING_EFFECTIVE || is_default(loader, origin))
            continue;
        int result = warn_without_effect(loader, origin);
        if (result < 0)
            return result;
    }
    return 0;
}

static int build(struct loader *loader)
{
    char *config = NULL;

    int result = apply_all(loader);
    if (result == 0)
        result = read_file(loader, &config);
    if (result == 0)
        result = apply_all(loader);
    if (result < 0)
        return result;
    loader->settings.config = config;
    loader->settings.file_environ = loader->file_environ;
    result = warn_all(loader);
    return result < 0 ? result : resolve(loader);
}

static size_t terminal_width(void)
{
    struct winsize size = {};
    const char *columns = environment_value(environ, "COLUMNS");
    size_t width = columns == NULL ? 0 : (size_t)strtoul(columns, NULL, 10);

    if (width == 0 && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0)
        width = size.ws_col;
    if (width == 0)
        width = WIDTH_USUAL;
    return width < WIDTH_MIN ? WIDTH_MIN : width > WIDTH_MAX ? WIDTH_MAX : width;
}

static void answer(const struct loader *loader)
{
    switch (loader->request) {
    case COMMAND_LINE_HELP:
        settings_print_help(stdout, terminal_width());
        break;
    case COMMAND_LINE_VERSION:
        puts("uroboros " UROBOROS_VERSION);
        break;
    case COMMAND_LINE_DEFAULT_CONFIG:
        settings_print_default_file(stdout, &loader->defaults);
        break;
    case COMMAND_LINE_REFERENCE:
        settings_print_reference(stdout, &loader->defaults);
        break;
    case COMMAND_LINE_MANUAL_OPTIONS:
        settings_print_manual_options(stdout);
        break;
    case COMMAND_LINE_MANUAL_SETTINGS:
        settings_print_manual_settings(stdout, &loader->defaults);
        break;
    case COMMAND_LINE_SERVE:
        settings_print_values(stdout, &loader->settings, (const struct assignment *const *)loader->origins);
        break;
    }
}

static enum settings_verdict print(struct loader *loader)
{
    answer(loader);
    if (fflush(stdout) == 0 && ferror(stdout) == 0)
        return SETTINGS_PRINTED;
    snprintf(loader->message, SETTINGS_MESSAGE_BYTES, "uroboros: standard output: %s", strerror(errno));
    return SETTINGS_FAILED;
}

static enum settings_verdict finish(struct loader *loader)
{
    if (loader->settings.print_config) {
        enum settings_verdict verdict = print(loader);
        if (verdict == SETTINGS_FAILED || !loader->settings.check_config)
            return verdict;
    }
    if (loader->settings.wsgi_app != NULL)
        return SETTINGS_RUN;
    snprintf(loader->message, SETTINGS_MESSAGE_BYTES,
             "uroboros: no application: name it as MODULE:ATTRIBUTE on the command line or in wsgi_app");
    return SETTINGS_FAILED;
}

static enum settings_verdict run(struct loader *loader, int argc, char **argv)
{
    int result = collect(loader, argc, argv);

    if (result == 0 && loader->request != COMMAND_LINE_SERVE)
        return print(loader);
    if (result == 0)
        result = build(loader);
    if (result == -ENOMEM)
        snprintf(loader->message, SETTINGS_MESSAGE_BYTES, "uroboros: the settings need more than %d KiB",
                 SETTINGS_ARENA_BYTES / 1024);
    return result < 0 ? SETTINGS_FAILED : finish(loader);
}

static void add_to_outcome(struct settings_outcome *outcome, struct string_list *list, const char *text)
{
    char *copy = settings_arena_string(outcome->arena, text);

    /* The arena holds what the settings held, so this does not happen; losing a warning would be no reason to fail. */
    if (copy == NULL || string_list_add(outcome->arena, list, copy) < 0)
        return;
}

static void keep_warnings(const struct loader *loader, struct settings_outcome *outcome)
{
    for (size_t i = 0; i < loader->warnings.count; i++)
        add_to_outcome(outcome, &outcome->warnings, loader->warnings.items[i]);
}

static enum settings_verdict load(int argc, char **argv, const char *start_directory, struct settings *ret_settings,
                                  struct settings_outcome *ret_outcome)
{
    struct loader loader;
    enum settings_verdict verdict = SETTINGS_FAILED;

    *ret_outcome = (struct settings_outcome){.message = "uroboros: no memory", .arena = settings_arena_create()};
    if (ret_outcome->arena == NULL)
        return SETTINGS_FAILED;
    if (init_loader(&loader, start_directory, ret_outcome->message) == 0) {
        verdict = run(&loader, argc, argv);
        keep_warnings(&loader, ret_outcome);
    }
    if (verdict == SETTINGS_RUN)
        *ret_settings = loader.settings;
    else
        settings_deinit(&loader.settings);
    return verdict;
}

enum settings_verdict settings_load(int argc, char **argv, struct settings *ret_settings,
                                    struct settings_outcome *ret_outcome)
{
    char directory[PATH_MAX];

    if (getcwd(directory, sizeof(directory)) != NULL)
        return load(argc, argv, directory, ret_settings, ret_outcome);
    *ret_outcome = (struct settings_outcome){};
    snprintf(ret_outcome->message, sizeof(ret_outcome->message), "uroboros: current directory: %s", strerror(errno));
    return SETTINGS_FAILED;
}

static bool is_compared(const struct setting *setting)
{
    return setting->field != SETTING_NO_FIELD && strcmp(setting->name, "start_directory") != 0;
}

static bool is_certificate(const struct setting *setting)
{
    static const char *const names[] = {"certfile", "keyfile", "ocsp_file"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(setting->name, names[i]) == 0)
            return true;
    return false;
}

/* False: no memory. `turns_tls`: it has been turned on or off, but that was settled when the addresses were opened. */
static bool merge_row(const struct setting *setting, const struct settings *current, struct settings *fresh,
                      bool turns_tls, struct settings_outcome *outcome)
{
    if (!is_compared(setting) || setting_equal(setting, current, fresh))
        return true;
    if (setting->reload == SETTING_RELOADS && !(turns_tls && is_certificate(setting))) {
        add_to_outcome(outcome, &outcome->changed, setting->name);
        return true;
    }
    add_to_outcome(outcome, &outcome->needs_restart, setting->name);
    return setting_copy(setting, fresh, current) == 0;
}

enum settings_verdict settings_reload(int argc, char **argv, const struct settings *current,
                                      struct settings *ret_settings, struct settings_outcome *ret_outcome)
{
    struct settings fresh;
    enum settings_verdict verdict = load(argc, argv, current->start_directory, &fresh, ret_outcome);

    if (verdict != SETTINGS_RUN)
        return verdict;
    bool turns_tls = (current->certfile.count > 0) != (fresh.certfile.count > 0);
    for (size_t i = 0; i < setting_count(); i++)
        if (!merge_row(setting_at(i), current, &fresh, turns_tls, ret_outcome)) {
            settings_deinit(&fresh);
            return SETTINGS_FAILED;
        }
    *ret_settings = fresh;
    return verdict;
}

void settings_outcome_deinit(struct settings_outcome *outcome)
{
    settings_arena_destroy(outcome->arena);
    *outcome = (struct settings_outcome){};
}
