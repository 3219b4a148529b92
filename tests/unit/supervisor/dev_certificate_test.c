#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/supervisor/dev_certificate.h"
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct fixture {
    char directory[64];
    char certificate[128];
    char key[128];
    char why[DEV_CERTIFICATE_WHY_BYTES];
    char *path;
    bool made;
};

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    strcpy(fixture->directory, "/tmp/uroboros-dev-XXXXXX");
    assert_non_null(mkdtemp(fixture->directory));
    snprintf(fixture->certificate, sizeof fixture->certificate, "%s/a/b/certificate.pem", fixture->directory);
    snprintf(fixture->key, sizeof fixture->key, "%s/a/b/key.pem", fixture->directory);
    fixture->path = strdup(getenv("PATH"));
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    char command[96];

    setenv("PATH", fixture->path, 1);
    snprintf(command, sizeof command, "rm -r %s", fixture->directory);
    int status = system(command);
    free(fixture->path);
    free(fixture);
    return status;
}

static int ensure(struct fixture *fixture)
{
    return dev_certificate_ensure(fixture->certificate, fixture->key, &fixture->made, fixture->why);
}

static struct stat status_of(const char *path)
{
    struct stat status;
    assert_int_equal(stat(path, &status), 0);
    return status;
}

/* What openssl says about a file, as one text. */
static void describe(const struct fixture *fixture, char *text, size_t bytes)
{
    char command[256];
    snprintf(command, sizeof command, "openssl x509 -noout -text -in %s", fixture->certificate);
    FILE *output = popen(command, "r");
    assert_non_null(output);
    text[fread(text, 1, bytes - 1, output)] = '\0';
    assert_int_equal(pclose(output), 0);
}

static void a_certificate_for_this_machine_is_made(void **state)
{
    struct fixture *fixture = *state;
    char text[8'192], directory[128];

    assert_int_equal(ensure(fixture), 0);
    assert_true(fixture->made);
    describe(fixture, text, sizeof text);
    assert_non_null(strstr(text, "NIST CURVE: P-256"));
    assert_non_null(strstr(text, "DNS:localhost, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1"));
    assert_non_null(strstr(text, "CA:FALSE"));
    assert_int_equal(status_of(fixture->key).st_mode & 0777, 0600);
    assert_int_equal(status_of(fixture->certificate).st_mode & 0777, 0600);
    snprintf(directory, sizeof directory, "%s/a/b", fixture->directory);
    assert_int_equal(status_of(directory).st_mode & 0777, 0700);
}

static void it_is_used_again(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(ensure(fixture), 0);
    ino_t before = status_of(fixture->certificate).st_ino;
    assert_int_equal(ensure(fixture), 0);
    assert_false(fixture->made);
    assert_int_equal(status_of(fixture->certificate).st_ino, before);
}

static void one_that_is_no_certificate_or_lacks_its_key_is_made_anew(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(ensure(fixture), 0);
    assert_int_equal(truncate(fixture->certificate, 10), 0);
    assert_int_equal(ensure(fixture), 0);
    assert_true(fixture->made);
    assert_int_equal(unlink(fixture->key), 0);
    assert_int_equal(ensure(fixture), 0);
    assert_true(fixture->made);
}

static void without_openssl_there_is_a_sentence(void **state)
{
    struct fixture *fixture = *state;

    setenv("PATH", fixture->directory, 1);
    assert_int_equal(ensure(fixture), -ENOENT);
    assert_string_equal(fixture->why,
                        "dev_tls: the program openssl, which makes the certificate, is not there: install the package "
                        "openssl, or name a certificate with certfile and keyfile");
    assert_int_equal(access(fixture->key, F_OK), -1);
}

static void without_openssl_an_old_one_still_serves(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(ensure(fixture), 0);
    setenv("PATH", fixture->directory, 1);
    assert_int_equal(ensure(fixture), 0);
    assert_false(fixture->made);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_certificate_for_this_machine_is_made),
        TEST(it_is_used_again),
        TEST(one_that_is_no_certificate_or_lacks_its_key_is_made_anew),
        TEST(without_openssl_there_is_a_sentence),
        TEST(without_openssl_an_old_one_still_serves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
