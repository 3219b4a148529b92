#include "config/settings_tls.h"

#include <errno.h>
#include <string.h>

#include "config/environment.h"
#include "config/listen_table.h"
#include "config/setting_toml.h"

static const char credentials[] = "${CREDENTIALS_DIRECTORY}/";

struct resolver {
    struct settings *settings;
    const struct resolve_context *context;
    struct resolve_complaint *complaint;
    bool tables_name_http2; /* of `listen` */
};

static int warn(struct resolver *resolver, const char *text)
{
    char *copy = settings_arena_string(resolver->settings->arena, text);

    return copy == NULL ? -ENOMEM : string_list_add(resolver->settings->arena, resolver->context->warnings, copy);
}

/* Paths ------------------------------------------------------------------------------------------------------ */

/* Where systemd has put what LoadCredential= names: a path of the machine's only begins with it. */
static int name_credential(struct resolver *resolver, const char *setting, char **path)
{
    const char *directory = environment_value(resolver->context->environment, "CREDENTIALS_DIRECTORY");

    if (directory == NULL)
        return resolve_complain(resolver->complaint, setting,
                                "%s: CREDENTIALS_DIRECTORY is not in the environment; LoadCredential= in the unit of "
                                "a systemd service sets it",
                                *path);
    *path = settings_arena_print(resolver->settings->arena, "%s/%s", directory, *path + sizeof(credentials) - 1);
    return *path == NULL ? -ENOMEM : 0;
}

static int make_absolute(struct resolver *resolver, const char *setting, char **path)
{
    struct settings *settings = resolver->settings;

    if (*path == NULL)
        return 0;
    if (strncmp(*path, credentials, sizeof(credentials) - 1) == 0)
        return name_credential(resolver, setting, path);
    *path = settings_absolute_path(settings->arena, settings->chdir, *path);
    return *path == NULL ? -ENOMEM : 0;
}

static int make_all_absolute(struct resolver *resolver, const char *setting, struct string_list *list)
{
    int result = 0;

    for (size_t i = 0; result == 0 && i < list->count; i++)
        result = make_absolute(resolver, setting, &list->items[i]);
    return result;
}

static int resolve_paths(struct resolver *resolver)
{
    struct settings *settings = resolver->settings;
    const struct {
        const char *setting;
        char **path;
    } paths[] = {{"keyfile_password_file", &settings->keyfile_password_file},
                 {"ca_certs", &settings->ca_certs},
                 {"tls_ticket_keys", &settings->tls_ticket_keys}};
    const struct {
        const char *setting;
        struct string_list *list;
    } lists[] = {
        {"certfile", &settings->certfile}, {"keyfile", &settings->keyfile}, {"ocsp_file", &settings->ocsp_file}};
    int result = 0;

    for (size_t i = 0; result == 0 && i < sizeof(paths) / sizeof(paths[0]); i++)
        result = make_absolute(resolver, paths[i].setting, paths[i].path);
    for (size_t i = 0; result == 0 && i < sizeof(lists) / sizeof(lists[0]); i++)
        result = make_all_absolute(resolver, lists[i].setting, lists[i].list);
    return result;
}

/* Certificates ----------------------------------------------------------------------------------------------- */

static const char *state_directory(struct resolver *resolver)
{
    struct settings_arena *arena = resolver->settings->arena;
    const char *state = environment_value(resolver->context->environment, "XDG_STATE_HOME");
    const char *home = environment_value(resolver->context->environment, "HOME");

    if (state != NULL && *state == '/')
        return settings_arena_print(arena, "%s/uroboros", state);
    return settings_arena_print(arena, "%s/.local/state/uroboros", home == NULL ? "/root" : home);
}

static int name_file(struct resolver *resolver, const char *directory, const char *name, struct string_list *list)
{
    char *path = settings_arena_print(resolver->settings->arena, "%s/%s", directory, name);

    return path == NULL ? -ENOMEM : string_list_add(resolver->settings->arena, list, path);
}

/* Only named here; the supervisor makes them. */
static int resolve_development(struct resolver *resolver)
{
    struct settings *settings = resolver->settings;

    if (!settings->dev_tls)
        return 0;
    if (settings->certfile.count > 0 || settings->keyfile.count > 0)
        return resolve_complain(resolver->complaint, "dev_tls", "contradicts %s; a server has one or the other",
                                settings->certfile.count > 0 ? "certfile" : "keyfile");
    const char *directory = state_directory(resolver);
    if (directory == NULL)
        return -ENOMEM;
    int result = name_file(resolver, directory, "dev-certificate.pem", &settings->certfile);
    return result < 0 ? result : name_file(resolver, directory, "dev-key.pem", &settings->keyfile);
}

/* `where` names the setting of a complaint. A PEM file may hold both the chain and its key. */
static int match_keys(struct resolver *resolver, const char *where, const struct string_list *certfile,
                      struct string_list *keyfile, const struct string_list *ocsp_file)
{
    struct resolve_complaint *complaint = resolver->complaint;

    if (certfile->count == 0 && keyfile->count > 0)
        return resolve_complain(complaint, where, "keyfile without certfile: name the certificate of the key as well");
    if (certfile->count == 0 && ocsp_file->count > 0)
        return resolve_complain(complaint, where, "ocsp_file without certfile");
    if (keyfile->count == 0)
        *keyfile = *certfile;
    if (keyfile->count != certfile->count)
        return resolve_complain(complaint, where, "%zu keys for %zu certificates: expected one key for each, in order",
                                keyfile->count, certfile->count);
    if (ocsp_file->count != 0 && ocsp_file->count != certfile->count)
        return resolve_complain(complaint, where, "%zu OCSP responses for %zu certificates: expected one for each",
                                ocsp_file->count, certfile->count);
    return 0;
}

static int resolve_certificates(struct resolver *resolver)
{
    struct settings *settings = resolver->settings;
    const char *where = settings->certfile.count > 0  ? "certfile"
                        : settings->keyfile.count > 0 ? "keyfile"
                                                      : "ocsp_file";

    return match_keys(resolver, where, &settings->certfile, &settings->keyfile, &settings->ocsp_file);
}

/* Protocols -------------------------------------------------------------------------------------------------- */

static bool lists_protocol(const struct string_list *list, size_t count, const char *protocol)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(list->items[i], protocol) == 0)
            return true;
    return false;
}

static bool serves_only_http1(const struct settings *settings)
{
    return settings->worker_class == WORKER_CLASS_SYNC || settings->worker_class == WORKER_CLASS_TORNADO;
}

/* `where` names the setting of a complaint. */
static int check_protocols_of(struct resolver *resolver, const char *where, const struct string_list *list)
{
    struct resolve_complaint *complaint = resolver->complaint;

    for (size_t i = 0; i < list->count; i++) {
        if (strcmp(list->items[i], "h3") == 0)
            return resolve_complain(complaint, where,
                                    "\"h3\": HTTP/3 runs over QUIC, which this server does not speak; use \"h2\" and "
                                    "\"h1\"");
        if (strcmp(list->items[i], "h1") != 0 && strcmp(list->items[i], "h2") != 0)
            return resolve_complain(complaint, where, "\"%s\": expected \"h2\" or \"h1\"", list->items[i]);
        if (lists_protocol(list, i, list->items[i]))
            return resolve_complain(complaint, where, "\"%s\" is there twice", list->items[i]);
    }
    return 0;
}

static int check_protocols(struct resolver *resolver)
{
    const struct string_list *list = &resolver->settings->http_protocols;

    if (list->count == 0)
        return resolve_complain(resolver->complaint, "http_protocols", "expected at least one of \"h2\" and \"h1\"");
    return check_protocols_of(resolver, "http_protocols", list);
}

/* Addresses -------------------------------------------------------------------------------------------------- */

static int resolve_table_files(struct resolver *resolver, struct listen_table *table)
{
    struct string_list *const lists[] = {&table->certfile, &table->keyfile, &table->ocsp_file};

    int result = match_keys(resolver, "listen", &table->certfile, &table->keyfile, &table->ocsp_file);
    for (size_t i = 0; result == 0 && i < sizeof(lists) / sizeof(lists[0]); i++)
        result = make_all_absolute(resolver, "listen", lists[i]);
    return result;
}

static int decide_table_tls(struct resolver *resolver, struct listen_table *table)
{
    bool own = table->certfile.count > 0 || table->keyfile.count > 0 || table->ocsp_file.count > 0;
    bool any = own || resolver->settings->certfile.count > 0;

    if (table->tls == LISTEN_TLS_OFF && own)
        return resolve_complain(resolver->complaint, "listen", "%s: tls = false contradicts a certificate of its own",
                                table->address);
    if (table->tls == LISTEN_TLS_ON && !any)
        return resolve_complain(resolver->complaint, "listen", "%s: tls = true needs a certfile, here or for all",
                                table->address);
    if (table->tls == LISTEN_TLS_BY_CERTIFICATE)
        table->tls = any ? LISTEN_TLS_ON : LISTEN_TLS_OFF;
    if (table->tls == LISTEN_TLS_OFF && table->http_protocols.count > 0)
        return resolve_complain(resolver->complaint, "listen",
                                "%s: http_protocols are offered by TLS; without it http2_cleartext decides",
                                table->address);
    return 0;
}

static int resolve_table(struct resolver *resolver, struct listen_table *table)
{
    int result = decide_table_tls(resolver, table);
    if (result == 0)
        result = check_protocols_of(resolver, "listen", &table->http_protocols);
    if (result == 0)
        result = resolve_table_files(resolver, table);
    if (result < 0 || !serves_only_http1(resolver->settings))
        return result;
    resolver->tables_name_http2 |= lists_protocol(&table->http_protocols, table->http_protocols.count, "h2");
    table->http_protocols = (struct string_list){};
    return 0;
}

static int resolve_tables(struct resolver *resolver)
{
    struct settings *settings = resolver->settings;
    char wrong[LISTEN_TABLE_WRONG_BYTES];

    for (size_t i = 0; i < settings->listen.count; i++) {
        struct listen_table table;
        int result = listen_table_parse(settings->listen.items[i], settings->arena, &table, wrong);
        if (result == -EINVAL)
            return resolve_complain(resolver->complaint, "listen", "%s", wrong);
        if (result == 0)
            result = resolve_table(resolver, &table);
        if (result < 0)
            return result;
        settings->listen.items[i] = listen_table_format(&table, settings->arena);
        if (settings->listen.items[i] == NULL)
            return -ENOMEM;
    }
    if (settings->listen.count > 0 && !resolver->context->names_bind)
        settings->bind = (struct string_list){};
    return 0;
}

bool settings_have_tls(const struct settings *settings)
{
    if (settings->certfile.count > 0)
        return true;
    for (size_t i = 0; i < settings->listen.count; i++)
        if (strstr(settings->listen.items[i], "\ntls=true") != NULL)
            return true;
    return false;
}

/* What is asked of clients, and versions --------------------------------------------------------------------- */

static int check_client_certificates(struct resolver *resolver)
{
    const struct settings *settings = resolver->settings;
    const char *asked = setting_word_of(setting_find("cert_reqs"), (int)settings->cert_reqs);

    if (settings->cert_reqs == CERT_REQS_NONE)
        return settings->ca_certs == NULL ? 0 : warn(resolver, "ca_certs has no effect while cert_reqs is \"none\"");
    if (!settings_have_tls(settings))
        return resolve_complain(resolver->complaint, "cert_reqs",
                                "\"%s\" needs certfile: without TLS no client can show a certificate", asked);
    if (settings->ca_certs == NULL)
        return resolve_complain(resolver->complaint, "cert_reqs",
                                "\"%s\" needs ca_certs: the authorities that client certificates are checked against",
                                asked);
    return 0;
}

static int resolve_version(struct resolver *resolver)
{
    if (resolver->settings->ssl_version == SSL_VERSION_TLS13)
        resolver->settings->tls_min_version = TLS_MIN_VERSION_13;
    return 0;
}

static int check_tickets(struct resolver *resolver)
{
    const struct settings *settings = resolver->settings;

    if (!settings->tls_tickets && settings->tls_ticket_keys != NULL)
        return resolve_complain(resolver->complaint, "tls_ticket_keys", "contradicts tls_tickets = false");
    if (!settings->tls_tickets && settings->tls_early_data)
        return resolve_complain(resolver->complaint, "tls_early_data",
                                "contradicts tls_tickets = false: early data comes with a resumed session");
    return 0;
}

/* What the worker class can serve -------------------------------------------------------------------------- */

static int keep_only_http1(struct settings *settings)
{
    char *h1 = settings_arena_string(settings->arena, "h1");

    settings->http_protocols = (struct string_list){};
    return h1 == NULL ? -ENOMEM : string_list_add(settings->arena, &settings->http_protocols, h1);
}

/* As Gunicorn does: a worker that takes one request at a time gets one at a time. Nobody is warned of a default. */
static int fall_back(struct resolver *resolver)
{
    struct settings *settings = resolver->settings;
    bool wanted = lists_protocol(&settings->http_protocols, settings->http_protocols.count, "h2");
    bool named = (wanted && resolver->context->names_http_protocols) || resolver->tables_name_http2 ||
                 settings->http2_cleartext != HTTP2_CLEARTEXT_OFF;

    if (!serves_only_http1(settings))
        return 0;
    settings->http2_cleartext = HTTP2_CLEARTEXT_OFF;
    int result = wanted ? keep_only_http1(settings) : 0;
    if (result < 0 || !named)
        return result;
    if (settings->worker_class == WORKER_CLASS_TORNADO)
        return warn(resolver, "HTTP/2 is not supported by the tornado worker, so HTTP/1.1 is served");
    return warn(resolver, "HTTP/2 is not supported by the sync worker, so HTTP/1.1 is served; use gthread or asgi");
}

static int resolve_cleartext(struct resolver *resolver)
{
    struct settings *settings = resolver->settings;

    if (settings->http2_cleartext != HTTP2_CLEARTEXT_BOTH)
        return 0;
    settings->http2_cleartext = HTTP2_CLEARTEXT_PRIOR_KNOWLEDGE;
    return warn(resolver, "http2_cleartext = \"both\": only prior knowledge is offered, because RFC 9113 has removed "
                          "the upgrade");
}

int settings_tls_resolve(struct settings *settings, const struct resolve_context *context,
                         struct resolve_complaint *complaint)
{
    static int (*const steps[])(struct resolver *) = {
        resolve_paths,   resolve_development, resolve_certificates, resolve_tables, check_client_certificates,
        resolve_version, check_tickets,       check_protocols,      fall_back,      resolve_cleartext,
    };
    struct resolver resolver = {.settings = settings, .context = context, .complaint = complaint};

    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        int result = steps[i](&resolver);
        if (result < 0)
            return result;
    }
    return 0;
}
