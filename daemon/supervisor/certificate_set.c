#include "daemon/supervisor/certificate_set.h"

#include "config/settings_transfer.h"
#include "daemon/base/log.h"
#include "daemon/base/owned.h"
#include "daemon/supervisor/child.h"

#include <stdio.h>
#include <string.h>

/* Reading ---------------------------------------------------------------------------------------------------- */

static int complain(const char *setting, const char *path, int error, char why[CERTIFICATE_WHY_BYTES])
{
    static const struct {
        int error;
        const char *text;
    } rows[] = {{-EFBIG, "it is larger than 1 MiB, so it is something else"}, {-ENODATA, "it is empty"}};
    const char *text = strerror(-error);

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (rows[i].error == error)
            text = rows[i].text;
    snprintf(why, CERTIFICATE_WHY_BYTES, "%s: cannot read %.300s: %s", setting, path, text);
    return error;
}

static int take(const char *setting, const char *path, struct file_copy *ret_copy, char why[CERTIFICATE_WHY_BYTES])
{
    int r = path == NULL ? 0 : file_copy_take(path, ret_copy);
    return r < 0 ? complain(setting, path, r, why) : 0;
}

static int take_pair(const struct certificate_plan *plan, struct certificate_set *set, char why[CERTIFICATE_WHY_BYTES])
{
    uint32_t index = set->count;
    struct certificate_files *files = &set->pairs[index];
    const char *ocsp = index < plan->ocsp_file.count ? plan->ocsp_file.items[index] : NULL;

    *files = (struct certificate_files){FILE_COPY_NONE, FILE_COPY_NONE, FILE_COPY_NONE};
    /* Counted first: what a failed attempt has read is given back with the rest. */
    set->count++;
    int r = take("certfile", plan->certfile.items[index], &files->chain, why);
    if (r == 0)
        r = take("keyfile", plan->keyfile.items[index], &files->key, why);
    return r == 0 ? take("ocsp_file", ocsp, &files->ocsp, why) : r;
}

static int take_protocols(const struct certificate_plan *plan, struct certificate_set *set)
{
    for (size_t i = 0; i < plan->http_protocols.count && i < CERTIFICATE_PROTOCOLS_MAX; i++) {
        set->protocols[i] = strdup(plan->http_protocols.items[i]);
        if (set->protocols[i] == NULL)
            return -ENOMEM;
        set->protocol_count++;
    }
    return 0;
}

static int fill(const struct certificate_plan *plan, struct certificate_set *set, char why[CERTIFICATE_WHY_BYTES])
{
    int r = take_protocols(plan, set);
    if (r < 0)
        snprintf(why, CERTIFICATE_WHY_BYTES, "no memory");
    if (r == 0)
        r = take("keyfile_password_file", plan->password_file, &set->password, why);
    if (r == 0)
        r = take("ca_certs", plan->ca_certs, &set->trust, why);
    while (r == 0 && set->count < plan->certfile.count)
        r = take_pair(plan, set, why);
    return r;
}

int certificate_set_create(const struct certificate_plan *plan, struct certificate_set **ret_set,
                           char why[CERTIFICATE_WHY_BYTES])
{
    size_t count = plan->certfile.count;
    if (count > CONTROL_TLS_PAIRS_MAX) {
        snprintf(why, CERTIFICATE_WHY_BYTES, "certfile: %zu certificates are more than the %d that fit", count,
                 CONTROL_TLS_PAIRS_MAX);
        return -E2BIG;
    }
    struct certificate_set *set = calloc(1, sizeof *set + count * sizeof set->pairs[0]);
    if (set == NULL) {
        snprintf(why, CERTIFICATE_WHY_BYTES, "no memory");
        return -ENOMEM;
    }
    set->password = set->trust = FILE_COPY_NONE;
    int r = fill(plan, set, why);
    if (r < 0) {
        certificate_set_destroy(set);
        return r;
    }
    *ret_set = set;
    return 0;
}

void certificate_set_destroy(struct certificate_set *set)
{
    if (set == NULL)
        return;
    for (uint32_t i = 0; i < set->count; i++) {
        file_copy_deinit(&set->pairs[i].chain);
        file_copy_deinit(&set->pairs[i].key);
        file_copy_deinit(&set->pairs[i].ocsp);
    }
    for (uint32_t i = 0; i < set->protocol_count; i++)
        free(set->protocols[i]);
    file_copy_deinit(&set->password);
    file_copy_deinit(&set->trust);
    free(set);
}

bool certificate_set_is_current(const struct certificate_set *set)
{
    bool current = file_copy_is_current(&set->password) && file_copy_is_current(&set->trust);
    for (uint32_t i = 0; current && i < set->count; i++) {
        const struct certificate_files *files = &set->pairs[i];
        current = file_copy_is_current(&files->chain) && file_copy_is_current(&files->key) &&
                  file_copy_is_current(&files->ocsp);
    }
    return current;
}

void certificate_set_warn(const struct certificate_set *set)
{
    for (uint32_t i = 0; i < set->count; i++) {
        const struct file_copy *key = &set->pairs[i].key;
        if ((key->status.st_mode & (S_IRGRP | S_IWGRP | S_IROTH | S_IWOTH)) != 0)
            log_warning("the key file %s is open to others than its owner (mode %03o): chmod 600 closes it", key->path,
                        key->status.st_mode & 0777u);
    }
}

/* Sending ---------------------------------------------------------------------------------------------------- */

static void send_pair(const struct certificate_set *set, uint32_t index, uint32_t context, struct child *child)
{
    const struct certificate_files *files = &set->pairs[index];
    struct control_tls_pair pair = {.context = context};
    int fds[] = {files->chain.fd, files->key.fd, -1, -1};
    size_t fd_count = 2;

    snprintf(pair.name, sizeof pair.name, "%s", files->chain.path);
    if (set->password.path != NULL) {
        pair.flags |= CONTROL_TLS_HAS_PASSWORD;
        fds[fd_count++] = set->password.fd;
    }
    if (files->ocsp.path != NULL) {
        pair.flags |= CONTROL_TLS_HAS_OCSP;
        fds[fd_count++] = files->ocsp.fd;
    }
    child_send(child, CONTROL_TLS_PAIR, &pair, sizeof pair, fds, fd_count);
}

/* A context with protocols of its own is built with settings of its own. Without memory it gets those of all: it
 * serves, and says so. */
static int own_settings(const struct certificate_set *set, const struct settings *settings)
{
    struct settings own = *settings;
    int fd = -1;

    own.http_protocols = (struct string_list){set->protocol_count, (char **)(uintptr_t)set->protocols};
    int r = settings_serialize(&own, &fd);
    if (r < 0)
        log_error("%s: its http_protocols cannot be handed on: %s", set->pairs[0].chain.path, strerror(-r));
    return fd;
}

void certificate_set_send(const struct certificate_set *set, uint32_t context, struct child *child,
                          const struct settings *settings, int settings_fd)
{
    const struct control_tls_context ready = {.context = context};
    OWNED_FD own_fd = set->protocol_count > 0 ? own_settings(set, settings) : -1;
    const int fd = own_fd >= 0 ? own_fd : settings_fd;

    for (uint32_t i = 0; i < set->count; i++)
        send_pair(set, i, context, child);
    if (set->trust.path != NULL)
        child_send(child, CONTROL_TLS_TRUST, &ready, sizeof ready, &set->trust.fd, 1);
    child_send(child, CONTROL_TLS_READY, &ready, sizeof ready, &fd, fd >= 0 ? 1 : 0);
}
