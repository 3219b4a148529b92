#include "daemon/supervisor/dev_certificate.h"

#include "daemon/base/owned.h"

#include <assert.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { CONFIG_FD = 3, NOT_FOUND = 127 };
static_assert(CONFIG_FD > STDERR_FILENO, "openssl keeps its standard streams");

/* Everything is said here, so that no openssl.cnf of the machine has a say. */
static const char config[] = "[req]\n"
                             "distinguished_name = name\n"
                             "x509_extensions = extensions\n"
                             "prompt = no\n"
                             "[name]\n"
                             "O = uroboros development certificate\n"
                             "CN = localhost\n"
                             "[extensions]\n"
                             "basicConstraints = critical, CA:FALSE\n"
                             "keyUsage = critical, digitalSignature\n"
                             "extendedKeyUsage = serverAuth\n"
                             "subjectAltName = DNS:localhost, IP:127.0.0.1, IP:::1\n";

static int complain(int error, char why[DEV_CERTIFICATE_WHY_BYTES], const char *what, const char *detail)
{
    snprintf(why, DEV_CERTIFICATE_WHY_BYTES, "dev_tls: %s: %.300s", what, detail);
    return error;
}

/* Running openssl -------------------------------------------------------------------------------------------- */

static int make_config(int *ret_fd)
{
    OWNED_FD fd = memfd_create("uroboros-openssl-config", MFD_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (write(fd, config, sizeof config - 1) != (ssize_t)(sizeof config - 1) || lseek(fd, 0, SEEK_SET) < 0)
        return -EIO;
    *ret_fd = fd_take(&fd);
    return 0;
}

/* Its own words go nowhere: a development certificate is no place to teach openssl. */
static int add_actions(posix_spawn_file_actions_t *actions, int config_fd)
{
    int r = posix_spawn_file_actions_addopen(actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    if (r == 0)
        r = posix_spawn_file_actions_addopen(actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    if (r == 0)
        r = posix_spawn_file_actions_addopen(actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    if (r == 0)
        r = posix_spawn_file_actions_adddup2(actions, config_fd, CONFIG_FD);
    return -r;
}

/* The supervisor holds its signals back by now; openssl should not. */
static int add_attributes(posix_spawnattr_t *attributes)
{
    sigset_t none;
    sigemptyset(&none);
    int r = posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSIGMASK);
    return r == 0 ? -posix_spawnattr_setsigmask(attributes, &none) : -r;
}

static int spawn(const char *const arguments[], int config_fd, pid_t *ret_pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;

    if (posix_spawn_file_actions_init(&actions) != 0)
        return -ENOMEM;
    int r = -posix_spawnattr_init(&attributes);
    if (r == 0) {
        r = add_actions(&actions, config_fd);
        if (r == 0)
            r = add_attributes(&attributes);
        if (r == 0)
            r = -posix_spawnp(ret_pid, arguments[0], &actions, &attributes, (char *const *)(uintptr_t)arguments,
                              environ);
        posix_spawnattr_destroy(&attributes);
    }
    posix_spawn_file_actions_destroy(&actions);
    return r;
}

/* Its exit status, -ENOENT when there is no such program, or another -errno. */
static int run(const char *const arguments[])
{
    int fd = -1, status = 0;
    pid_t pid;

    int r = make_config(&fd);
    if (r < 0)
        return r;
    OWNED_FD config_fd = fd;
    r = spawn(arguments, config_fd, &pid);
    if (r < 0)
        return r;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return -errno;
    if (!WIFEXITED(status))
        return -EINTR;
    return WEXITSTATUS(status) == NOT_FOUND ? -ENOENT : WEXITSTATUS(status);
}

/* Files ------------------------------------------------------------------------------------------------------ */

/* With all directories on the way; those that are made are the user's alone. */
static int make_directory_of(const char *path)
{
    char part[PATH_MAX];
    if (strlen(path) >= sizeof part)
        return -ENAMETOOLONG;
    for (const char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        snprintf(part, sizeof part, "%.*s", (int)(slash - path), path);
        if (mkdir(part, 0700) < 0 && errno != EEXIST)
            return -errno;
    }
    return 0;
}

/* Without openssl nobody can tell, and a certificate that is there is better than none. */
static bool is_usable(const char *certificate, const char *key)
{
    static const char week_s[] = "604800";
    const char *const arguments[] = {"openssl", "x509", "-checkend", week_s, "-noout", "-in", certificate, NULL};

    if (access(certificate, R_OK) < 0 || access(key, R_OK) < 0)
        return false;
    int r = run(arguments);
    return r == 0 || r == -ENOENT;
}

static int make_files(const char *certificate, const char *key)
{
    const char *const arguments[] = {"openssl", "req",       "-x509",
                                     "-config", "/dev/fd/3", "-newkey",
                                     "ec",      "-pkeyopt",  "ec_paramgen_curve:P-256",
                                     "-nodes",  "-sha256",   "-days",
                                     "365",     "-keyout",   key,
                                     "-out",    certificate, NULL};
    mode_t before = umask(0077);
    int r = run(arguments);
    umask(before);
    return r;
}

/* Both under other names first: who looks meanwhile sees the old pair or the new one. */
static int make_pair(const char *certificate, const char *key, char why[DEV_CERTIFICATE_WHY_BYTES])
{
    char new_certificate[PATH_MAX], new_key[PATH_MAX];
    snprintf(new_certificate, sizeof new_certificate, "%s.%d", certificate, (int)getpid());
    snprintf(new_key, sizeof new_key, "%s.%d", key, (int)getpid());

    int r = make_files(new_certificate, new_key);
    if (r == 0 && (rename(new_key, key) < 0 || rename(new_certificate, certificate) < 0))
        r = -errno;
    if (r == 0)
        return 0;
    unlink(new_key);
    unlink(new_certificate);
    if (r == -ENOENT)
        return complain(r, why, "the program openssl, which makes the certificate, is not there",
                        "install the package openssl, or name a certificate with certfile and keyfile");
    if (r > 0)
        return complain(-EIO, why, "the program openssl could not make a certificate", certificate);
    return complain(r, why, certificate, strerror(-r));
}

int dev_certificate_ensure(const char *certificate, const char *key, bool *ret_made,
                           char why[DEV_CERTIFICATE_WHY_BYTES])
{
    bool usable = is_usable(certificate, key);
    if (!usable) {
        int r = make_directory_of(certificate);
        if (r < 0)
            return complain(r, why, certificate, strerror(-r));
        r = make_pair(certificate, key, why);
        if (r < 0)
            return r;
    }
    *ret_made = !usable;
    return 0;
}
