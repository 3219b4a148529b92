#include "daemon/io/tls_failure.h"

#include "daemon/io/tls_library.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void every_failure_has_a_word_of_its_own(void **state)
{
    (void)state;
    for (int i = 0; i < TLS_FAILURE_COUNT; i++)
        for (int j = 0; j < i; j++)
            assert_string_not_equal(tls_failure_word((enum tls_failure)i), tls_failure_word((enum tls_failure)j));
}

static void errors_of_boringssl_come_to_what_an_operator_acts_upon(void **state)
{
    (void)state;
    static const struct {
        int library, reason;
        enum tls_failure failure;
    } CASES[] = {
        {ERR_LIB_SSL, SSL_R_UNSUPPORTED_PROTOCOL, TLS_FAILURE_VERSION},
        {ERR_LIB_SSL, SSL_R_NO_SHARED_CIPHER, TLS_FAILURE_CIPHER},
        {ERR_LIB_SSL, SSL_R_HTTP_REQUEST, TLS_FAILURE_PLAIN_HTTP},
        {ERR_LIB_SSL, SSL_R_TOO_MANY_EMPTY_FRAGMENTS, TLS_FAILURE_FLOOD},
        {ERR_LIB_SSL, SSL_R_TLSV1_ALERT_UNKNOWN_CA, TLS_FAILURE_CLIENT_ALERT},
        {ERR_LIB_SSL, SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC, TLS_FAILURE_PROTOCOL},
        {ERR_LIB_X509, SSL_R_HTTP_REQUEST, TLS_FAILURE_CLIENT_CERTIFICATE},
        {ERR_LIB_SYS, SSL_R_HTTP_REQUEST, TLS_FAILURE_PROTOCOL},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++)
        assert_int_equal(tls_failure_of(ERR_PACK((uint32_t)CASES[i].library, (uint32_t)CASES[i].reason)),
                         CASES[i].failure);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_failure_has_a_word_of_its_own),
        cmocka_unit_test(errors_of_boringssl_come_to_what_an_operator_acts_upon),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
