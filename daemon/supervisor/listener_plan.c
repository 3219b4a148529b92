#include "daemon/supervisor/listener_plan.h"

#include "config/listen_table.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { CLEARTEXT = -1 };

static void name_protocols(const struct string_list *protocols, char text[LISTENER_PROTOCOLS_BYTES])
{
    size_t used = 0;
    for (size_t i = 0; i < protocols->count && used < LISTENER_PROTOCOLS_BYTES; i++) {
        const char *name = strcmp(protocols->items[i], "h1") == 0 ? "http/1.1" : protocols->items[i];
        used += (size_t)snprintf(text + used, LISTENER_PROTOCOLS_BYTES - used, "%s%s", i == 0 ? "" : ", ", name);
    }
}

/* What a table does not have of its own it has of all. */
static int add_context(const struct settings *settings, struct listener_plan *plan, const struct listen_table *table,
                       int32_t *ret_context)
{
    bool own_files = table->certfile.count > 0, own_protocols = table->http_protocols.count > 0;
    uint32_t index = plan->context_count;

    if (index == CONTROL_TLS_CONTEXTS_MAX)
        return -E2BIG;
    plan->contexts[index] = (struct certificate_plan){
        .certfile = own_files ? table->certfile : settings->certfile,
        .keyfile = own_files ? table->keyfile : settings->keyfile,
        .ocsp_file = own_files ? table->ocsp_file : settings->ocsp_file,
        .password_file = settings->keyfile_password_file,
        .ca_certs = settings->cert_reqs != CERT_REQS_NONE ? settings->ca_certs : NULL,
        .http_protocols = table->http_protocols,
    };
    name_protocols(own_protocols ? &table->http_protocols : &settings->http_protocols, plan->protocols[index]);
    plan->context_count++;
    *ret_context = (int32_t)index;
    return 0;
}

static int add_address(struct settings_arena *arena, struct listener_plan *plan, char *address, int32_t context,
                       enum listen_proxy proxy)
{
    size_t index = plan->addresses.count;
    if (index == LISTENERS_MAX)
        return -ENOBUFS;
    plan->tls_contexts[index] = context;
    plan->proxies[index] = proxy;
    return string_list_add(arena, &plan->addresses, address);
}

static int add_bind(const struct settings *settings, struct settings_arena *arena, struct listener_plan *plan)
{
    const struct listen_table all = {};
    int r = 0;

    plan->tls_context_of_all = CLEARTEXT;
    if (settings->certfile.count > 0)
        r = add_context(settings, plan, &all, &plan->tls_context_of_all);
    for (size_t i = 0; r == 0 && i < settings->bind.count; i++)
        r = add_address(arena, plan, settings->bind.items[i], plan->tls_context_of_all, LISTEN_PROXY_OF_ALL);
    return r;
}

static int add_table(const struct settings *settings, struct settings_arena *arena, struct listener_plan *plan,
                     const char *lines, char why[CERTIFICATE_WHY_BYTES])
{
    struct listen_table table;
    int32_t context = plan->tls_context_of_all;

    int r = listen_table_parse(lines, arena, &table, why);
    if (r == 0 && table.tls == LISTEN_TLS_OFF)
        context = CLEARTEXT;
    else if (r == 0 && (table.certfile.count > 0 || table.http_protocols.count > 0))
        r = add_context(settings, plan, &table, &context);
    return r == 0 ? add_address(arena, plan, table.address, context, table.proxy_protocol) : r;
}

int listener_plan_make(const struct settings *settings, struct settings_arena *arena, struct listener_plan *ret_plan,
                       char why[CERTIFICATE_WHY_BYTES])
{
    *ret_plan = (struct listener_plan){};
    int r = add_bind(settings, arena, ret_plan);
    for (size_t i = 0; r == 0 && i < settings->listen.count; i++)
        r = add_table(settings, arena, ret_plan, settings->listen.items[i], why);
    if (r == -E2BIG)
        snprintf(why, CERTIFICATE_WHY_BYTES,
                 "listen: more than %d addresses have certificates or protocols of their own",
                 CONTROL_TLS_CONTEXTS_MAX);
    else if (r == -ENOBUFS)
        snprintf(why, CERTIFICATE_WHY_BYTES, "bind and listen: more than %d addresses", LISTENERS_MAX);
    else if (r == -ENOMEM)
        snprintf(why, CERTIFICATE_WHY_BYTES, "no memory for the addresses");
    return r;
}
