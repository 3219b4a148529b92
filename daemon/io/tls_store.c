#include "daemon/io/tls_store.h"

#include "config/settings_transfer.h"
#include "daemon/base/log.h"
#include "daemon/io/tls_library.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

int tls_store_init(struct tls_store *store, const struct settings *settings)
{
    *store = (struct tls_store){.settings = settings};
    return tls_tickets_init(&store->tickets);
}

/* ---- files ------------------------------------------------------------------------------------------------------ */

static void wipe(struct bytes *file)
{
    void *memory = (void *)(uintptr_t)file->data;
    if (memory != NULL)
        OPENSSL_cleanse(memory, file->length);
    free(memory);
    *file = (struct bytes){};
}

/* The file from its beginning, wherever another process has read it to. */
static int read_file(int fd, struct bytes *ret_file)
{
    struct stat status;
    if (fstat(fd, &status) < 0)
        return -errno;
    if (status.st_size > TLS_FILE_BYTES_MAX)
        return -EFBIG;
    uint8_t *memory = malloc((size_t)status.st_size + 1);
    size_t length = 0;
    ssize_t got = memory != NULL ? 1 : -1;
    while (got > 0 && length < (size_t)status.st_size) {
        got = pread(fd, memory + length, (size_t)status.st_size - length, (off_t)length);
        length += got > 0 ? (size_t)got : 0;
    }
    if (got < 0) {
        int r = memory != NULL ? -errno : -ENOMEM;
        free(memory);
        return r;
    }
    *ret_file = bytes_of(memory, length);
    return 0;
}

static void forget_files(struct tls_place *place)
{
    for (uint32_t i = 0; i < place->pair_count; i++) {
        struct tls_pair_source *pair = &place->pairs[i];
        free((void *)(uintptr_t)pair->name);
        wipe(&pair->chain);
        wipe(&pair->key);
        wipe(&pair->password);
        wipe(&pair->ocsp);
    }
    wipe(&place->trust);
    place->pair_count = 0;
    place->error = 0;
}

void tls_store_deinit(struct tls_store *store)
{
    for (uint32_t i = 0; i < TLS_CONTEXTS_MAX; i++) {
        if (store->places[i] == NULL)
            continue;
        forget_files(store->places[i]);
        tls_context_drop(store->places[i]->context);
        free(store->places[i]);
    }
    tls_signers_destroy(store->signers);
    tls_tickets_deinit(&store->tickets);
    *store = (struct tls_store){};
}

int tls_store_start(struct tls_store *store)
{
    return store->signers != NULL ? 0 : tls_signers_create(&store->signers);
}

static struct tls_place *place_of(struct tls_store *store, uint32_t number)
{
    if (number >= TLS_CONTEXTS_MAX)
        return NULL;
    if (store->places[number] == NULL)
        store->places[number] = calloc(1, sizeof *store->places[number]);
    return store->places[number];
}

static void note_error(struct tls_place *place, int r)
{
    if (r < 0 && place->error == 0)
        place->error = r;
}

static int on_pair(struct tls_store *store, const struct control_message *message)
{
    const struct control_tls_pair *told = control_payload(message, sizeof *told);
    struct tls_place *place = told != NULL ? place_of(store, told->context) : NULL;
    if (place == NULL)
        return told == NULL ? -EPROTO : -ENOMEM;
    uint32_t has_password = told->flags & CONTROL_TLS_HAS_PASSWORD ? 1 : 0;
    uint32_t has_ocsp = told->flags & CONTROL_TLS_HAS_OCSP ? 1 : 0;
    if (message->fd_count != 2 + has_password + has_ocsp || place->pair_count == TLS_PAIRS_MAX)
        return -EPROTO;
    struct tls_pair_source *pair = &place->pairs[place->pair_count++];
    *pair = (struct tls_pair_source){.name = strndup(told->name, sizeof told->name)};
    note_error(place, pair->name != NULL ? 0 : -ENOMEM);
    note_error(place, read_file(message->fds[0], &pair->chain));
    note_error(place, read_file(message->fds[1], &pair->key));
    if (has_password)
        note_error(place, read_file(message->fds[2], &pair->password));
    if (has_ocsp)
        note_error(place, read_file(message->fds[2 + has_password], &pair->ocsp));
    return 0;
}

static int on_trust(struct tls_store *store, const struct control_message *message)
{
    const struct control_tls_context *told = control_payload(message, sizeof *told);
    struct tls_place *place = told != NULL ? place_of(store, told->context) : NULL;
    if (place == NULL || message->fd_count != 1)
        return -EPROTO;
    wipe(&place->trust);
    note_error(place, read_file(message->fds[0], &place->trust));
    return 0;
}

static int on_tickets(struct tls_store *store, const struct control_message *message)
{
    const struct control_tls_tickets *told = control_payload(message, sizeof *told);
    if (told == NULL)
        return -EPROTO;
    tls_tickets_set(&store->tickets, told);
    return 0;
}

/* ---- contexts --------------------------------------------------------------------------------------------------- */

static void read_protocols(const struct string_list *list, const char *ret_protocols[2])
{
    size_t count = 0;
    for (size_t i = 0; i < list->count && count < 2; i++)
        ret_protocols[count++] = strcmp(list->items[i], "h2") == 0 ? "h2" : "http/1.1";
    if (count == 0)
        ret_protocols[0] = "http/1.1";
}

static struct tls_options read_options(const struct settings *settings)
{
    static const enum tls_verify VERIFY[] = {
        [CERT_REQS_NONE] = TLS_VERIFY_NONE,
        [CERT_REQS_OPTIONAL] = TLS_VERIFY_OPTIONAL,
        [CERT_REQS_REQUIRED] = TLS_VERIFY_REQUIRED,
    };
    struct tls_options options = {
        .version_min = settings->tls_min_version == TLS_MIN_VERSION_13 ? TLS1_3_VERSION : TLS1_2_VERSION,
        .ciphers = settings->ciphers,
        .groups = settings->tls_groups,
        .verify = VERIFY[settings->cert_reqs],
        .strict_sni = settings->tls_strict_sni,
        .tickets = settings->tls_tickets,
        .early_data = settings->tls_early_data,
    };
    read_protocols(&settings->http_protocols, options.protocols);
    return options;
}

/* Clients will refuse it, but the server is not the one to judge: a wrong clock would stop it. */
static void warn_of_expiry(const struct tls_place *place, const struct tls_context *context)
{
    for (uint32_t i = 0; i < tls_context_pair_count(context); i++) {
        uint64_t expires_s = tls_context_pair(context, i)->expires_s;
        if (expires_s != 0 && expires_s < (uint64_t)time(NULL))
            log_warning("%s: the certificate has expired, so clients will refuse it", place->pairs[i].name);
    }
}

static int build(struct tls_store *store, struct tls_place *place, const struct settings *settings, char *why,
                 size_t why_bytes)
{
    const struct tls_sources sources = {place->pairs, place->pair_count, place->trust};
    const struct tls_options options = read_options(settings);
    struct tls_context *context;
    if (place->error < 0) {
        snprintf(why, why_bytes, "the certificate files could not be read: %s", strerror(-place->error));
        return place->error;
    }
    int r = tls_context_create(&options, &sources, &store->tickets, &store->signers, why, why_bytes, &context);
    if (r < 0)
        return r;
    warn_of_expiry(place, context);
    tls_context_drop(place->context);
    place->context = context;
    return 0;
}

/* With the settings of a descriptor, where a reload that is not decided yet brings one, else with those in use. */
static int build_with(struct tls_store *store, struct tls_place *place, const struct control_message *message,
                      char *why, size_t why_bytes)
{
    struct settings tried = {};
    if (message->fd_count == 0)
        return build(store, place, store->settings, why, why_bytes);
    int r = settings_deserialize(message->fds[0], &tried);
    if (r < 0) {
        snprintf(why, why_bytes, "the new settings could not be read: %s", strerror(-r));
        return r;
    }
    r = build(store, place, &tried, why, why_bytes);
    settings_deinit(&tried);
    return r;
}

static int on_ready(struct tls_store *store, const struct control_message *message, int control_fd)
{
    const struct control_tls_context *told = control_payload(message, sizeof *told);
    struct tls_place *place = told != NULL ? place_of(store, told->context) : NULL;
    if (place == NULL)
        return -EPROTO;
    struct control_tls_refusal refusal = {.context = told->context};
    int r = build_with(store, place, message, refusal.text, sizeof refusal.text);
    forget_files(place);
    if (r < 0)
        return control_send(control_fd, CONTROL_TLS_REFUSED, &refusal, sizeof refusal, NULL, 0);
    return control_send(control_fd, CONTROL_TLS_TAKEN, told, sizeof *told, NULL, 0);
}

int tls_store_on_control(struct tls_store *store, const struct control_message *message, int control_fd)
{
    switch (message->kind) {
    case CONTROL_TLS_PAIR:
        return on_pair(store, message);
    case CONTROL_TLS_TRUST:
        return on_trust(store, message);
    case CONTROL_TLS_TICKETS:
        return on_tickets(store, message);
    case CONTROL_TLS_READY:
        return on_ready(store, message, control_fd);
    default:
        return -EPROTO;
    }
}

struct tls_context *tls_store_find(const struct tls_store *store, int32_t number)
{
    if (number < 0 || number >= TLS_CONTEXTS_MAX || store->places[number] == NULL)
        return NULL;
    return store->places[number]->context;
}
