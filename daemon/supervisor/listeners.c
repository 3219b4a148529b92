#include "daemon/supervisor/listeners.h"

#include "daemon/supervisor/handover.h"
#include "daemon/supervisor/listener_bind.h"
#include "daemon/supervisor/listener_take.h"
#include "daemon/supervisor/socket_names.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Their files ------------------------------------------------------------------------------------------------ */

static void remove_file(const struct listener *listener)
{
    struct stat status;
    if (listener->path[0] == '\0' || lstat(listener->path, &status) < 0)
        return;
    if (status.st_dev == listener->device && status.st_ino == listener->inode)
        unlink(listener->path);
}

static void close_listener(const struct listener *listener)
{
    remove_file(listener);
    for (uint32_t ring = 0; ring < listener->fd_count; ring++)
        close(listener->fds[ring]);
}

static struct listener *find(struct listeners *listeners, const char *key)
{
    for (size_t i = 0; i < listeners->count; i++)
        if (strcmp(listeners->items[i].key, key) == 0)
            return &listeners->items[i];
    return NULL;
}

/* The file of an address that the settings name no longer goes with it. */
static void own_file(struct listener *listener, const struct handover_listener *handed)
{
    struct listener nobody = {};
    struct listener *owner = listener != NULL ? listener : &nobody;
    owner->device = (dev_t)handed->device;
    owner->inode = (ino_t)handed->inode;
    snprintf(owner->path, sizeof owner->path, "%s", handed->path);
    if (owner == &nobody)
        remove_file(owner);
}

void listeners_own_handed(struct listeners *listeners, struct handover *handed)
{
    for (uint32_t i = 0; i < handed->listener_count; i++) {
        const struct handover_listener *one = &handed->listeners[i];
        own_file(find(listeners, one->key), one);
        for (uint32_t ring = 0; ring < one->fd_count; ring++)
            close(one->fds[ring]);
    }
    handed->listener_count = 0;
}

/* All of them ------------------------------------------------------------------------------------------------ */

/* Behind the address: what a client may speak, where that is more than HTTP/1.1. */
static void add_protocols(const struct listeners_request *request, struct listener *listener)
{
    size_t used = strlen(listener->text), left = sizeof listener->text - used;
    bool is_unix = (listener->hello.flags & CONTROL_LISTENER_UNIX) != 0;

    if (listener->hello.tls_context >= 0)
        snprintf(listener->text + used, left, " (%s%s)", is_unix ? "tls, " : "",
                 request->protocols[listener->hello.tls_context]);
    else if (request->http2_cleartext)
        snprintf(listener->text + used, left, " (h2c, http/1.1)");
}

/* Two listeners on one socket would take each other's connections, whatever each of them speaks. */
static bool claim_inherited(struct listeners *listeners, const struct listener_opening *opening)
{
    int index = listener_take_index(opening->request, opening->address);
    uint64_t bit = index >= 0 ? UINT64_C(1) << index : 0;
    bool is_free = (listeners->inherited_used & bit) == 0;
    listeners->inherited_used |= bit;
    return is_free;
}

static int open_one(struct listeners *listeners, const struct listeners_request *request,
                    const struct bind_address *address, int32_t tls_context, char *why)
{
    static int (*const open_kind[])(const struct listener_opening *, struct listener *) = {
        [BIND_ADDRESS_TCP] = listener_bind_tcp,           [BIND_ADDRESS_UNIX] = listener_bind_unix,
        [BIND_ADDRESS_ABSTRACT] = listener_bind_abstract, [BIND_ADDRESS_FD] = listener_take_inherited,
        [BIND_ADDRESS_NAMED] = listener_take_inherited,
    };
    struct listener_opening opening = {.request = request, .address = address, .why = why};

    bind_address_format(address, opening.text);
    if (listeners->count == LISTENERS_MAX)
        return listener_opening_complain(&opening, -E2BIG, "more than %d addresses", LISTENERS_MAX);
    if (!claim_inherited(listeners, &opening))
        return listener_opening_complain(&opening, -EADDRINUSE,
                                         "another address of the settings is that socket already");
    /* Counted first: what a failed attempt has opened is closed with the rest. */
    struct listener *listener = &listeners->items[listeners->count++];
    listener->hello.tls_context = tls_context;
    memcpy(listener->key, opening.text, sizeof listener->key);
    int r = listener_take_handed(&opening, listener) ? 0 : open_kind[address->kind](&opening, listener);
    if (r == 0)
        add_protocols(request, listener);
    return r;
}

static int complain_of_name(const struct listeners_request *request, const char text[BIND_ADDRESS_TEXT_BYTES],
                            char *why)
{
    struct listener_opening opening = {.why = why};
    char names[LISTENERS_WHY_BYTES / 4];

    memcpy(opening.text, text, sizeof opening.text);
    socket_names_describe(request->inherited_names, request->inherited_count, names, sizeof names);
    if (names[0] != '\0')
        return listener_opening_complain(&opening, -ENOENT, "no inherited socket has that name; there are: %s", names);
    return listener_opening_complain(
        &opening, -ENOENT, "no inherited socket has a name; FileDescriptorName= of a systemd socket unit gives one");
}

/* All sockets of that name. */
static int open_named(struct listeners *listeners, const struct listeners_request *request,
                      const struct bind_address *address, int32_t tls_context, char *why)
{
    struct bind_address named = *address;
    char text[BIND_ADDRESS_TEXT_BYTES];
    size_t before = listeners->count;
    int r = 0, index = -1;

    bind_address_format(address, text);
    while (r == 0 && (index = socket_names_find(request->inherited_names, request->inherited_count, address->host,
                                                index + 1)) >= 0) {
        named.fd = request->inherited_first + index;
        r = open_one(listeners, request, &named, tls_context, why);
    }
    return r == 0 && listeners->count == before ? complain_of_name(request, text, why) : r;
}

static int open_item(struct listeners *listeners, const struct listeners_request *request, size_t index, char *why)
{
    int32_t tls_context = request->tls_contexts == NULL ? -1 : request->tls_contexts[index];
    size_t before = listeners->count;
    struct bind_address address;
    const char *expected = bind_address_parse(request->bind->items[index], &address);

    if (expected != NULL) {
        snprintf(why, LISTENERS_WHY_BYTES, "cannot listen at %.200s: expected %s", request->bind->items[index],
                 expected);
        return -EINVAL;
    }
    int r = address.kind == BIND_ADDRESS_NAMED ? open_named(listeners, request, &address, tls_context, why)
                                               : open_one(listeners, request, &address, tls_context, why);
    for (size_t i = before; r == 0 && request->proxies != NULL && i < listeners->count; i++)
        listeners->items[i].hello.proxy_protocol = request->proxies[index];
    return r;
}

static int open_bind_items(struct listeners *listeners, const struct listeners_request *request, char *why)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < request->bind->count; i++)
        r = open_item(listeners, request, i, why);
    return r;
}

static int open_activated(struct listeners *listeners, const struct listeners_request *request, char *why)
{
    int r = 0;
    for (int i = 0; r == 0 && i < request->inherited_count; i++) {
        const struct bind_address address = {.kind = BIND_ADDRESS_FD, .fd = request->inherited_first + i};
        r = open_one(listeners, request, &address,
                     request->tls_contexts == NULL ? -1 : request->tls_context_of_inherited, why);
    }
    return r;
}

static bool names_inherited(const struct string_list *bind)
{
    for (size_t i = 0; i < bind->count; i++) {
        struct bind_address address;
        if (bind_address_parse(bind->items[i], &address) == NULL &&
            (address.kind == BIND_ADDRESS_FD || address.kind == BIND_ADDRESS_NAMED))
            return true;
    }
    return false;
}

int listeners_open(struct listeners *ret_listeners, const struct listeners_request *request,
                   char why[LISTENERS_WHY_BYTES])
{
    assert(request->inherited_count <= LISTENERS_INHERITED_MAX);
    ret_listeners->count = 0;
    ret_listeners->inherited_used = 0;
    memset(ret_listeners->items, 0, sizeof ret_listeners->items);
    bool activated = request->inherited_count > 0 && !names_inherited(request->bind);
    int r = activated ? open_activated(ret_listeners, request, why) : open_bind_items(ret_listeners, request, why);
    if (r < 0)
        listeners_deinit(ret_listeners);
    return r;
}

void listeners_deinit(struct listeners *listeners)
{
    for (size_t i = 0; i < listeners->count; i++)
        close_listener(&listeners->items[i]);
    listeners->count = 0;
}

void listeners_describe(const struct listeners *listeners, char *text, size_t bytes)
{
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; i < listeners->count && used < bytes; i++)
        used += (size_t)snprintf(text + used, bytes - used, "%s%s", i == 0 ? "" : ", ", listeners->items[i].text);
}

void listeners_describe_socket(int fd, char text[LISTENER_TEXT_BYTES])
{
    struct listener listener = {.hello.tls_context = -1};
    struct listener_address address = {};
    const char *refusal = listener_take_refusal(fd, &address);

    if (refusal != NULL)
        snprintf(text, LISTENER_TEXT_BYTES, "%d (%s)", fd, refusal);
    else {
        listener_opening_describe(&listener, &address);
        size_t scheme = address.any.sa_family == AF_UNIX ? 0 : strlen("http://");
        snprintf(text, LISTENER_TEXT_BYTES, "%.*s", LISTENER_TEXT_BYTES - 1, listener.text + scheme);
    }
}
