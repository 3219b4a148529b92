#include "config/settings_resolve.h"

#include <ctype.h>
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/address_set.h"
#include "config/bind_address.h"
#include "config/environment.h"
#include "config/listen_table.h"
#include "config/machine_memory.h"
#include "config/settings_arena.h"
#include "config/settings_tls.h"

struct resolver {
    struct settings *settings;
    const struct resolve_context *context;
    struct resolve_complaint *complaint;
};

static int replace_string(struct settings *settings, char **field, const char *text)
{
    char *copy = settings_arena_string(settings->arena, text);

    if (copy == NULL)
        return -ENOMEM;
    *field = copy;
    return 0;
}

static int usable_cpus(void)
{
    cpu_set_t set;

    return sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
}

/* The receive buffers are there from the beginning, and never more. */
static int64_t client_memory(const struct settings *settings)
{
    enum { LEAST_MIB = 16, MOST_MIB = 65'536 };
    const int64_t receive =
        settings->recv_buffers * settings->recv_buffer_size + settings->upload_buffers * settings->upload_buffer_size;
    const int64_t share_mib = (int64_t)(machine_memory_bytes() >> 20) / 4 / settings->rings - (receive >> 20);
    return (share_mib < LEAST_MIB ? LEAST_MIB : share_mib > MOST_MIB ? MOST_MIB : share_mib) << 20;
}

static int resolve_numbers(struct resolver *resolver)
{
    struct settings *settings = resolver->settings;
    int cpus = usable_cpus();

    if (settings->workers == SETTING_AUTOMATIC)
        settings->workers = cpus;
    if (settings->rings == SETTING_AUTOMATIC)
        settings->rings = cpus > 1 ? cpus / 2 : 1;
    if (settings->client_memory_max == SETTING_AUTOMATIC)
        settings->client_memory_max = client_memory(settings);
    if (settings->queue_timeout_ms == SETTING_AUTOMATIC)
        settings->queue_timeout_ms = settings->timeout_ms;
    if (settings->worker_class == WORKER_CLASS_SYNC && settings->threads > 1)
        settings->worker_class = WORKER_CLASS_GTHREAD;
    return 0;
}

/* Gunicorn's 0 is "no limit"; a head that must fit into a buffer always has one. */
static int resolve_limits(struct resolver *resolver)
{
    struct settings *settings = resolver->settings;

    if (settings->limit_request_line == 0)
        settings->limit_request_line = setting_find("limit_request_line")->max;
    if (settings->limit_request_fields == 0)
        settings->limit_request_fields = setting_find("limit_request_fields")->max;
    if (settings->limit_request_field_size == 0)
        settings->limit_request_field_size = setting_find("limit_request_field_size")->max;
    return 0;
}

int settings_resolve_directory(struct settings *settings)
{
    const char *path = settings->chdir == NULL ? settings->start_directory : settings->chdir;

    settings->chdir = settings_absolute_path(settings->arena, settings->start_directory, path);
    return settings->chdir == NULL ? -ENOMEM : 0;
}

static int resolve_directory(struct resolver *resolver)
{
    struct stat status;

    int result = settings_resolve_directory(resolver->settings);
    if (result < 0)
        return result;
    if (stat(resolver->settings->chdir, &status) < 0)
        return resolve_complain(resolver->complaint, "chdir", "%s: %s", resolver->settings->chdir, strerror(errno));
    if (!S_ISDIR(status.st_mode))
        return resolve_complain(resolver->complaint, "chdir", "%s is not a directory", resolver->settings->chdir);
    return 0;
}

static char *search_path(struct settings_arena *arena, const char *path)
{
    while (path != NULL && *path != '\0') {
        size_t length = strcspn(path, ":");
        char *candidate = settings_arena_print(arena, "%.*s/python3", (int)length, path);
        if (candidate == NULL || (*candidate == '/' && access(candidate, X_OK) == 0))
            return candidate;
        path += length + (path[length] == ':');
    }
    return settings_arena_string(arena, "/usr/bin/python3");
}

char *settings_system_python(struct settings_arena *arena, char *const *environment)
{
    if (access("/usr/bin/python3", X_OK) == 0)
        return settings_arena_string(arena, "/usr/bin/python3");
    return search_path(arena, environment_value(environment, "PATH"));
}

static char *python_of_venv(struct settings *settings, const char *venv)
{
    return settings_arena_print(settings->arena, "%s/bin/python", venv);
}

static bool is_embedded(const struct settings *settings)
{
    return settings->python != NULL && strcmp(settings->python, "embedded") == 0;
}

int settings_resolve_python(struct settings *settings, char *const *environment)
{
    const char *active = environment_value(environment, "VIRTUAL_ENV");

    if (settings->venv != NULL)
        settings->venv = settings_absolute_path(settings->arena, settings->chdir, settings->venv);
    if (is_embedded(settings))
        return 0;
    if (settings->python != NULL)
        settings->python = settings_absolute_path(settings->arena, settings->chdir, settings->python);
    else if (settings->venv != NULL)
        settings->python = python_of_venv(settings, settings->venv);
    else if (active != NULL)
        settings->python = python_of_venv(settings, active);
    else
        settings->python = settings_system_python(settings->arena, environment);
    return settings->python == NULL ? -ENOMEM : 0;
}

char *settings_file_python(struct settings *settings, char *const *environment)
{
    const char *venv = settings->venv != NULL ? settings->venv : environment_value(environment, "VIRTUAL_ENV");

    if (!is_embedded(settings))
        return settings->python;
    if (venv != NULL) {
        char *python = python_of_venv(settings, venv);
        if (python == NULL || access(python, X_OK) == 0)
            return python;
    }
    return settings_system_python(settings->arena, environment);
}

static int resolve_python(struct resolver *resolver)
{
    struct settings *settings = resolver->settings;

    if (settings->python != NULL && settings->venv != NULL && !is_embedded(settings))
        return resolve_complain(resolver->complaint, "python", "contradicts venv = \"%s\"; set one of the two",
                                settings->venv);
    int result = settings_resolve_python(settings, resolver->context->environment);
    if (result < 0 || is_embedded(settings) || access(settings->python, X_OK) == 0)
        return result;
    return resolve_complain(resolver->complaint, settings->venv != NULL ? "venv" : "python",
                            "%s cannot be executed: %s", settings->python, strerror(errno));
}

static int resolve_names(struct resolver *resolver)
{
    struct settings *settings = resolver->settings;

    if (settings->proc_name == NULL)
        settings->proc_name = settings->default_proc_name;
    if (settings->proc_name == NULL && settings->wsgi_app != NULL)
        settings->proc_name = settings->wsgi_app;
    if (settings->proc_name == NULL)
        return replace_string(settings, &settings->proc_name, "uroboros");
    return 0;
}

static int resolve_upload_directory(struct resolver *resolver)
{
    struct settings *settings = resolver->settings;
    const char *path = settings->tmp_upload_dir;

    if (path == NULL)
        path = environment_value(resolver->context->environment, "TMPDIR");
    settings->tmp_upload_dir = settings_absolute_path(settings->arena, settings->chdir, path == NULL ? "/tmp" : path);
    return settings->tmp_upload_dir == NULL ? -ENOMEM : 0;
}

/* One part of a CPU list, N or N-M. */
static bool take_cpus(const char *text, cpu_set_t *set)
{
    char *end;
    unsigned long first, last;

    if (!isdigit((unsigned char)*text))
        return false;
    first = last = strtoul(text, &end, 10);
    if (*end == '-' && isdigit((unsigned char)end[1]))
        last = strtoul(end + 1, &end, 10);
    if (*end != '\0' || first > last || last >= CPU_SETSIZE)
        return false;
    for (; first <= last; first++)
        CPU_SET(first, set);
    return true;
}

static int list_cpus(struct settings *settings, const cpu_set_t *set)
{
    settings->cpu_affinity = (struct string_list){};
    for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, set))
            continue;
        char *number = settings_arena_print(settings->arena, "%zu", cpu);
        int result = number == NULL ? -ENOMEM : string_list_add(settings->arena, &settings->cpu_affinity, number);
        if (result < 0)
            return result;
    }
    return 0;
}

static bool is_only(const struct string_list *list, const char *word)
{
    return list->count == 1 && strcmp(list->items[0], word) == 0;
}

static int resolve_affinity(struct resolver *resolver)
{
    const struct string_list *list = &resolver->settings->cpu_affinity;
    cpu_set_t usable, wanted;

    CPU_ZERO(&wanted);
    if (is_only(list, "off"))
        return list_cpus(resolver->settings, &wanted);
    if (sched_getaffinity(0, sizeof(usable), &usable) < 0)
        return resolve_complain(resolver->complaint, "cpu_affinity", "the usable CPUs cannot be read: %s",
                                strerror(errno));
    if (is_only(list, "auto"))
        return list_cpus(resolver->settings, &usable);
    for (size_t i = 0; i < list->count; i++)
        if (!take_cpus(list->items[i], &wanted))
            return resolve_complain(resolver->complaint, "cpu_affinity",
                                    "\"%s\": expected \"auto\", \"off\", or CPUs such as 0,2-3", list->items[i]);
    for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &wanted) && !CPU_ISSET(cpu, &usable))
            return resolve_complain(resolver->complaint, "cpu_affinity", "CPU %zu is not among the usable ones", cpu);
    return list_cpus(resolver->settings, &wanted);
}

/* Those of `bind`, then those of `listen`. */
static int collect_addresses(struct resolver *resolver, struct string_list *ret_list)
{
    struct settings *settings = resolver->settings;
    struct string_list list = {};
    char wrong[LISTEN_TABLE_WRONG_BYTES];
    int result = 0;

    for (size_t i = 0; result == 0 && i < settings->bind.count; i++)
        result = string_list_add(settings->arena, &list, settings->bind.items[i]);
    for (size_t i = 0; result == 0 && i < settings->listen.count; i++) {
        struct listen_table table;
        result = listen_table_parse(settings->listen.items[i], settings->arena, &table, wrong);
        if (result == 0)
            result = string_list_add(settings->arena, &list, table.address);
    }
    *ret_list = list;
    return result;
}

static int check_twice(struct resolver *resolver, const struct string_list *list, size_t index, const char *text)
{
    char other_text[BIND_ADDRESS_TEXT_BYTES];
    struct bind_address other;

    for (size_t i = 0; i < index; i++) {
        if (bind_address_parse(list->items[i], &other) != NULL)
            continue;
        bind_address_format(&other, other_text);
        if (strcmp(text, other_text) == 0)
            return resolve_complain(resolver->complaint, index < resolver->settings->bind.count ? "bind" : "listen",
                                    "%s is there twice", text);
    }
    return 0;
}

static int check_address(struct resolver *resolver, const struct string_list *list, size_t index)
{
    char text[BIND_ADDRESS_TEXT_BYTES];
    struct bind_address address;
    const char *wanted = bind_address_parse(list->items[index], &address);

    if (wanted != NULL)
        return resolve_complain(resolver->complaint, "bind", "\"%s\": expected %s", list->items[index], wanted);
    bind_address_format(&address, text);
    /* Port 0 is a new port each time. */
    bool any_port = address.kind == BIND_ADDRESS_TCP && address.port == 0;
    return any_port ? 0 : check_twice(resolver, list, index, text);
}

static int check_bind(struct resolver *resolver)
{
    struct string_list list;

    int result = collect_addresses(resolver, &list);
    if (result < 0)
        return result;
    if (list.count == 0)
        return resolve_complain(resolver->complaint, "bind", "expected at least one address");
    for (size_t i = 0; result == 0 && i < list.count; i++)
        result = check_address(resolver, &list, i);
    return result;
}

static int check_addresses(struct resolver *resolver, const char *name, const struct string_list *list)
{
    struct address_network network;
    bool everyone;

    for (size_t i = 0; i < list->count; i++)
        if (!address_network_parse(list->items[i], &network, &everyone))
            return resolve_complain(resolver->complaint, name,
                                    "\"%s\": expected an address, a network such as 10.0.0.0/8, or *", list->items[i]);
    return 0;
}

static int check_trust(struct resolver *resolver)
{
    int result = check_addresses(resolver, "forwarded_allow_ips", &resolver->settings->forwarded_allow_ips);

    return result < 0 ? result : check_addresses(resolver, "proxy_allow_ips", &resolver->settings->proxy_allow_ips);
}

/* Field names are compared without case; so they are compared in one case. */
static int resolve_field_names(struct resolver *resolver)
{
    const struct string_list *lists[] = {&resolver->settings->secure_scheme_headers,
                                         &resolver->settings->forwarder_headers};

    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
        for (size_t j = 0; j < lists[i]->count; j++)
            for (char *at = lists[i]->items[j]; *at != '\0' && *at != '='; at++)
                *at = (char)toupper((unsigned char)*at);
    return 0;
}

static int check_buffers(struct resolver *resolver)
{
    const struct settings *settings = resolver->settings;

    if ((settings->recv_buffers & (settings->recv_buffers - 1)) != 0)
        return resolve_complain(resolver->complaint, "recv_buffers", "expected a power of two");
    if ((settings->upload_buffers & (settings->upload_buffers - 1)) != 0)
        return resolve_complain(resolver->complaint, "upload_buffers", "expected a power of two");
    if (settings->response_buffer_max > settings->response_buffer_total)
        return resolve_complain(resolver->complaint, "response_buffer_max",
                                "one response may take more than all of them together "
                                "(response_buffer_total)");
    return 0;
}

static int check_environment(struct resolver *resolver)
{
    const struct string_list *list = &resolver->settings->raw_env;

    for (size_t i = 0; i < list->count; i++)
        if (list->items[i][0] == '=' || strchr(list->items[i], '=') == NULL)
            return resolve_complain(resolver->complaint, "raw_env", "\"%s\": expected NAME=VALUE", list->items[i]);
    return 0;
}

static int resolve_tls(struct resolver *resolver)
{
    return settings_tls_resolve(resolver->settings, resolver->context, resolver->complaint);
}

/* Both go out in every response or into the kernel, where a line end would be someone else's field. */
static int check_texts(struct resolver *resolver)
{
    const struct settings *settings = resolver->settings;

    for (const char *at = settings->server_header; at != NULL && *at != '\0'; at++)
        if ((unsigned char)*at < ' ' || *at == 0x7f)
            return resolve_complain(resolver->complaint, "server_header", "expected text without control characters");
    if (settings->health_path != NULL && settings->health_path[0] != '/')
        return resolve_complain(resolver->complaint, "health_path", "expected a path that begins with /");
    if (settings->metrics_path != NULL && settings->metrics_path[0] != '/')
        return resolve_complain(resolver->complaint, "metrics_path", "expected a path that begins with /");
    return 0;
}

static int check_application(struct resolver *resolver)
{
    const struct settings *settings = resolver->settings;

    if (settings->factory && settings->wsgi_app != NULL && strchr(settings->wsgi_app, '(') != NULL)
        return resolve_complain(resolver->complaint, "factory", "contradicts \"%s\", which is a call already",
                                settings->wsgi_app);
    return 0;
}

int settings_resolve(struct settings *settings, const struct resolve_context *context,
                     struct resolve_complaint *ret_complaint)
{
    static int (*const steps[])(struct resolver *) = {
        resolve_directory, resolve_python,    resolve_numbers, resolve_limits,      resolve_names,
        resolve_affinity,  check_application, resolve_tls,     check_bind,          check_trust,
        check_buffers,     check_environment, check_texts,     resolve_field_names, resolve_upload_directory,
    };
    struct resolver resolver = {settings, context, ret_complaint};

    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        int result = steps[i](&resolver);
        if (result < 0)
            return result;
    }
    return 0;
}
