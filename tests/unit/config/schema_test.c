#include "config/schema.h"

#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "config/setting_value.h"
#include "config/settings_arena.h"

/* Every setting of Gunicorn 26.1, whatever became of it here. */
static const char *const gunicorn_settings[] = {"config",
                                                "wsgi_app",
                                                "bind",
                                                "backlog",
                                                "workers",
                                                "worker_class",
                                                "threads",
                                                "worker_connections",
                                                "max_requests",
                                                "max_requests_jitter",
                                                "timeout",
                                                "graceful_timeout",
                                                "keepalive",
                                                "asgi_loop",
                                                "asgi_lifespan",
                                                "asgi_disconnect_grace_period",
                                                "http_parser",
                                                "limit_request_line",
                                                "limit_request_fields",
                                                "limit_request_field_size",
                                                "http_protocols",
                                                "http2_cleartext",
                                                "http2_max_concurrent_streams",
                                                "http2_initial_window_size",
                                                "http2_max_frame_size",
                                                "http2_max_header_list_size",
                                                "keyfile",
                                                "certfile",
                                                "ssl_version",
                                                "cert_reqs",
                                                "ca_certs",
                                                "suppress_ragged_eofs",
                                                "do_handshake_on_connect",
                                                "ciphers",
                                                "preload_app",
                                                "sendfile",
                                                "reuse_port",
                                                "chdir",
                                                "daemon",
                                                "raw_env",
                                                "pidfile",
                                                "worker_tmp_dir",
                                                "user",
                                                "group",
                                                "umask",
                                                "initgroups",
                                                "tmp_upload_dir",
                                                "secure_scheme_headers",
                                                "forwarded_allow_ips",
                                                "pythonpath",
                                                "paste",
                                                "raw_paste_global_conf",
                                                "proxy_protocol",
                                                "proxy_allow_ips",
                                                "protocol",
                                                "uwsgi_allow_ips",
                                                "permit_obsolete_folding",
                                                "strip_header_spaces",
                                                "permit_unconventional_http_method",
                                                "permit_unconventional_http_version",
                                                "casefold_http_method",
                                                "forwarder_headers",
                                                "header_map",
                                                "root_path",
                                                "accesslog",
                                                "disable_redirect_access_to_syslog",
                                                "access_log_format",
                                                "errorlog",
                                                "loglevel",
                                                "capture_output",
                                                "logger_class",
                                                "logconfig",
                                                "logconfig_dict",
                                                "logconfig_json",
                                                "syslog",
                                                "syslog_addr",
                                                "syslog_prefix",
                                                "syslog_facility",
                                                "enable_stdio_inheritance",
                                                "statsd_host",
                                                "statsd_prefix",
                                                "dogstatsd_tags",
                                                "enable_backlog_metric",
                                                "proc_name",
                                                "default_proc_name",
                                                "reload",
                                                "reload_engine",
                                                "reload_extra_files",
                                                "spew",
                                                "check_config",
                                                "print_config",
                                                "control_socket",
                                                "control_socket_mode",
                                                "control_socket_disable",
                                                "dirty_apps",
                                                "dirty_workers",
                                                "dirty_timeout",
                                                "dirty_threads",
                                                "dirty_graceful_timeout",
                                                "on_starting",
                                                "on_reload",
                                                "when_ready",
                                                "pre_fork",
                                                "post_fork",
                                                "post_worker_init",
                                                "worker_int",
                                                "worker_abort",
                                                "pre_exec",
                                                "pre_request",
                                                "post_request",
                                                "child_exit",
                                                "worker_exit",
                                                "nworkers_changed",
                                                "on_exit",
                                                "ssl_context",
                                                "on_dirty_starting",
                                                "dirty_post_fork",
                                                "dirty_worker_init",
                                                "dirty_worker_exit"};

static void every_setting_of_gunicorn_is_known(void **)
{
    for (size_t i = 0; i < sizeof(gunicorn_settings) / sizeof(gunicorn_settings[0]); i++)
        if (setting_find(gunicorn_settings[i]) == NULL)
            fail_msg("%s", gunicorn_settings[i]);
}

static size_t bytes_of(const struct setting *setting)
{
    switch (setting->type) {
    case SETTING_BOOL:
        return sizeof(bool);
    case SETTING_WORD:
        return sizeof(int);
    case SETTING_LIST:
    case SETTING_PAIRS:
    case SETTING_TABLES:
        return sizeof(struct string_list);
    default:
        return 8;
    }
}

/* Only padding, and the arena at the end, may be without a row. */
static void every_field_has_one_row(void **)
{
    unsigned char rows[sizeof(struct settings)] = {};
    size_t gap = 0;

    for (size_t i = 0; i < setting_count(); i++) {
        const struct setting *setting = setting_at(i);
        if (setting->field == SETTING_NO_FIELD)
            continue;
        for (size_t j = 0; j < bytes_of(setting); j++)
            assert_int_equal(rows[(size_t)setting->field + j]++, 0);
    }
    for (size_t i = 0; i < offsetof(struct settings, arena); i++) {
        gap = rows[i] != 0 ? 0 : gap + 1;
        assert_true(gap < 8);
    }
}

static void names_and_flags_are_unique(void **)
{
    for (size_t i = 0; i < setting_count(); i++)
        for (size_t j = i + 1; j < setting_count(); j++) {
            assert_string_not_equal(setting_at(i)->name, setting_at(j)->name);
            if (setting_at(i)->flags != NULL && setting_at(j)->flags != NULL)
                assert_string_not_equal(setting_at(i)->flags, setting_at(j)->flags);
        }
}

static void a_row_says_all_that_others_need(void **)
{
    for (size_t i = 0; i < setting_count(); i++) {
        const struct setting *setting = setting_at(i);
        if (setting->group == NULL)
            continue;
        assert_non_null(setting->help);
        assert_int_equal(setting->help[strlen(setting->help) - 1], '.');
        assert_int_equal(setting->status == SETTING_EFFECTIVE, setting->reason == NULL);
        assert_int_equal(setting->type == SETTING_WORD, setting->words != NULL);
        assert_int_equal(setting->field == SETTING_NO_FIELD, setting->processes == 0);
        assert_true(setting->field == SETTING_NO_FIELD || setting->max >= setting->min);
    }
}

static void a_group_is_one_run_of_rows(void **)
{
    for (size_t i = 1; i < setting_count(); i++) {
        const char *group = setting_at(i)->group, *before = setting_at(i - 1)->group;
        if (group == NULL || before == NULL || strcmp(group, before) == 0)
            continue;
        for (size_t j = 0; j < i - 1; j++)
            assert_string_not_equal(group, setting_at(j)->group);
    }
}

static void all_defaults_are_valid(void **)
{
    struct settings settings = {.arena = settings_arena_create()};

    assert_non_null(settings.arena);
    assert_int_equal(settings_assign_defaults(&settings), 0);
    assert_int_equal(settings.keepalive_ms, 75'000);
    assert_int_equal(settings.limit_request_body, 1024L * 1024 * 1024);
    assert_int_equal(settings.rings, SETTING_AUTOMATIC);
    assert_string_equal(settings.bind.items[0], "127.0.0.1:8000");
    assert_string_equal(settings.secure_scheme_headers.items[2], "X-FORWARDED-SSL=on");
    assert_null(settings.root_path);
    settings_deinit(&settings);
}

static void dashes_and_underscores_are_the_same(void **)
{
    assert_ptr_equal(setting_find("limit-request_fields"), setting_find("limit_request_fields"));
    assert_null(setting_find("limit_request"));
    assert_null(setting_find("file_environ"));
    assert_null(setting_find(""));
}

static void a_slip_finds_its_neighbour_and_nonsense_none(void **)
{
    static const char *const slips[][2] = {{"worker", "workers"},
                                           {"wrokers", "workers"},
                                           {"time_out", "timeout"},
                                           {"access-log", "accesslog"},
                                           {"limit_request_feilds", "limit_request_fields"}};

    for (size_t i = 0; i < sizeof(slips) / sizeof(slips[0]); i++) {
        const struct setting *nearest = setting_nearest(slips[i][0]);
        assert_non_null(nearest);
        assert_string_equal(nearest->name, slips[i][1]);
    }
    assert_null(setting_nearest("zzzzzzzzzz"));
    assert_null(setting_nearest("a_name_that_is_longer_than_any_setting_and_any_row_of_the_distance_matrix_could_be"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_setting_of_gunicorn_is_known),
        cmocka_unit_test(every_field_has_one_row),
        cmocka_unit_test(names_and_flags_are_unique),
        cmocka_unit_test(a_row_says_all_that_others_need),
        cmocka_unit_test(a_group_is_one_run_of_rows),
        cmocka_unit_test(all_defaults_are_valid),
        cmocka_unit_test(dashes_and_underscores_are_the_same),
        cmocka_unit_test(a_slip_finds_its_neighbour_and_nonsense_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
