#include "config/settings_transfer.h"
#include "daemon/io/io_process_state.h"

#include <string.h>

static void derive_limits(struct io_core *core)
{
    const struct settings *settings = &core->settings;
    core->head_limits = (struct http1_limits){
        .request_line_max = io_settings_bounded(settings->limit_request_line),
        .field_size_max = io_settings_bounded(settings->limit_request_field_size),
        .field_count_max = io_settings_bounded(settings->limit_request_fields),
        .head_bytes_max = LAYOUT_LARGE_BLOCK_BYTES - 1, /* one that is cut has to show that it is longer */
        .method_bytes_max = 32,
        .body_bytes_max = (uint64_t)settings->limit_request_body,
        .refuse_underscore_names = settings->header_map == HEADER_MAP_REFUSE,
    };
    core->body_limits = (struct http1_body_limits){
        .body_bytes_max = (uint64_t)settings->limit_request_body,
        .trailer_bytes_max = 16'384,
        .trailer_count_max = 50,
        .chunk_extension_max = 256,
        .extensions_bytes_max = 16'384,
    };
}

static int derive_trust(struct io_core *core)
{
    size_t bad;
    const struct settings *settings = &core->settings;
    address_set_deinit(&core->forwarded_allow);
    address_set_deinit(&core->proxy_allow);
    secure_schemes_deinit(&core->secure_schemes);
    int r = secure_schemes_init(&core->secure_schemes, &settings->secure_scheme_headers);
    if (r == 0)
        r = address_set_init(&core->forwarded_allow, &settings->forwarded_allow_ips, &bad);
    return r < 0 ? r : address_set_init(&core->proxy_allow, &settings->proxy_allow_ips, &bad);
}

int io_settings_derive(struct io_core *core)
{
    derive_limits(core);
    core->memory.bytes_max = (uint64_t)core->settings.client_memory_max;
    return derive_trust(core);
}

/* Sizes that memory was laid out by stay. */
void io_settings_apply(struct io_process *io, int fd)
{
    struct io_core *core = &io->core;
    struct settings fresh = {};
    if (settings_deserialize(fd, &fresh) < 0) {
        log_error("the new settings could not be read; the old ones stay");
        return;
    }
    fresh.limit_request_fields = core->settings.limit_request_fields;
    fresh.max_connections = core->settings.max_connections;
    if (strcmp(core->settings.access_log_format, fresh.access_log_format) != 0)
        access_log_writer_set_format(&io->access_log, fresh.access_log_format);
    settings_deinit(&core->settings);
    core->settings = fresh;
    if (io_settings_derive(core) < 0)
        log_error("out of memory for the lists of trusted addresses; nobody is trusted now");
    http2_sessions_apply_settings(&io->http2);
    log_set_level(fresh.loglevel);
}
