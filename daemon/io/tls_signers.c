#include "daemon/io/tls_signers.h"

#include "daemon/base/sandbox.h"
#include "daemon/io/tls_library.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum signature_state { SIGNATURE_ASKED, SIGNATURE_READY, SIGNATURE_FORGOTTEN };

struct tls_signature {
    struct tls_signature *next;
    EVP_PKEY *key;
    uint64_t owner;
    enum signature_state state; /* the loop's */
    uint16_t algorithm;
    uint8_t digest_bytes;
    uint8_t digest[TLS_DIGEST_BYTES_MAX];
    size_t octets_length; /* the signer's, until it is among the results */
    uint8_t octets[TLS_SIGNATURE_BYTES_MAX];
};

struct signature_list {
    struct tls_signature *first, *last;
};

struct tls_signers {
    pthread_mutex_t mutex; /* guards what follows, up to `fd` */
    pthread_cond_t changed;
    struct signature_list asked;
    struct signature_list made;
    uint32_t locked_in; /* threads that are ready to work */
    int lock_error;
    bool ending;
    int fd;
    uint32_t waiting; /* the loop's */
    uint32_t started;
    pthread_t threads[TLS_SIGNERS];
};

static void append(struct signature_list *list, struct tls_signature *signature)
{
    signature->next = NULL;
    if (list->last != NULL)
        list->last->next = signature;
    else
        list->first = signature;
    list->last = signature;
}

static struct tls_signature *take_first(struct signature_list *list)
{
    struct tls_signature *signature = list->first;
    if (signature == NULL)
        return NULL;
    list->first = signature->next;
    if (list->first == NULL)
        list->last = NULL;
    return signature;
}

static void destroy(struct tls_signature *signature)
{
    EVP_PKEY_free(signature->key);
    OPENSSL_cleanse(signature->digest, sizeof signature->digest);
    free(signature);
}

/* ---- in the threads --------------------------------------------------------------------------------------------- */

static bool set_padding(EVP_PKEY_CTX *context, uint16_t algorithm)
{
    if (!EVP_PKEY_CTX_set_signature_md(context, SSL_get_signature_algorithm_digest(algorithm)))
        return false;
    if (!SSL_is_signature_algorithm_rsa_pss(algorithm))
        return EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PADDING);
    return EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PSS_PADDING) &&
           EVP_PKEY_CTX_set_rsa_pss_saltlen(context, -1); /* as long as the digest: RFC 8446 4.2.3 */
}

static void make(struct tls_signature *signature)
{
    size_t length = sizeof signature->octets;
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(signature->key, NULL);
    bool made = context != NULL && EVP_PKEY_sign_init(context) && set_padding(context, signature->algorithm) &&
                EVP_PKEY_sign(context, signature->octets, &length, signature->digest, signature->digest_bytes);
    signature->octets_length = made ? length : 0;
    EVP_PKEY_CTX_free(context);
    ERR_clear_error();
}

static void wake_loop(const struct tls_signers *signers)
{
    const uint64_t one = 1;
    ssize_t written = write(signers->fd, &one, sizeof one);
    (void)written; /* a counter at its end is readable all the same */
}

static void lock_in(struct tls_signers *signers)
{
    int r = sandbox_lock_signer();
    pthread_mutex_lock(&signers->mutex);
    signers->locked_in++;
    if (r < 0)
        signers->lock_error = r;
    pthread_cond_broadcast(&signers->changed);
    pthread_mutex_unlock(&signers->mutex);
}

/* The loop may be pinned to a CPU; these threads exist to compute beside it. They go back to the CPUs that the server
 * was given (taskset, CPUAffinity=): those of the supervisor, which nobody pins. */
static void leave_cpu_of_loop(void)
{
    cpu_set_t given;
    if (sched_getaffinity(getppid(), sizeof given, &given) == 0)
        (void)sched_setaffinity(0, sizeof given, &given);
}

static void *work(void *argument)
{
    struct tls_signers *signers = argument;
    leave_cpu_of_loop();
    lock_in(signers);
    pthread_mutex_lock(&signers->mutex);
    while (!signers->ending) {
        struct tls_signature *signature = take_first(&signers->asked);
        if (signature == NULL) {
            pthread_cond_wait(&signers->changed, &signers->mutex);
            continue;
        }
        pthread_mutex_unlock(&signers->mutex);
        make(signature);
        pthread_mutex_lock(&signers->mutex);
        bool first = signers->made.first == NULL;
        append(&signers->made, signature);
        if (first)
            wake_loop(signers);
    }
    pthread_mutex_unlock(&signers->mutex);
    return NULL;
}

/* ---- in the loop ------------------------------------------------------------------------------------------------ */

/* Signals of the process are not for these threads to handle. */
static int start_threads(struct tls_signers *signers)
{
    sigset_t all, before;
    int r = 0;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (r == 0 && signers->started < TLS_SIGNERS) {
        r = pthread_create(&signers->threads[signers->started], NULL, work, signers);
        signers->started += r == 0;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return -r;
}

static int wait_until_locked_in(struct tls_signers *signers)
{
    pthread_mutex_lock(&signers->mutex);
    while (signers->locked_in < signers->started)
        pthread_cond_wait(&signers->changed, &signers->mutex);
    int r = signers->lock_error;
    pthread_mutex_unlock(&signers->mutex);
    return r;
}

int tls_signers_create(struct tls_signers **ret_signers)
{
    struct tls_signers *signers = calloc(1, sizeof *signers);
    if (signers == NULL)
        return -ENOMEM;
    pthread_mutex_init(&signers->mutex, NULL);
    pthread_cond_init(&signers->changed, NULL);
    signers->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int r = signers->fd >= 0 ? start_threads(signers) : -errno;
    if (r == 0)
        r = wait_until_locked_in(signers);
    if (r < 0) {
        tls_signers_destroy(signers);
        return r;
    }
    *ret_signers = signers;
    return 0;
}

void tls_signers_destroy(struct tls_signers *signers)
{
    if (signers == NULL)
        return;
    pthread_mutex_lock(&signers->mutex);
    signers->ending = true;
    pthread_cond_broadcast(&signers->changed);
    pthread_mutex_unlock(&signers->mutex);
    for (uint32_t i = 0; i < signers->started; i++)
        pthread_join(signers->threads[i], NULL);
    struct tls_signature *signature;
    while ((signature = take_first(&signers->asked)) != NULL || (signature = take_first(&signers->made)) != NULL)
        destroy(signature);
    if (signers->fd >= 0)
        close(signers->fd);
    pthread_cond_destroy(&signers->changed);
    pthread_mutex_destroy(&signers->mutex);
    free(signers);
}

int tls_signers_fd(const struct tls_signers *signers)
{
    return signers->fd;
}

uint32_t tls_signers_waiting(const struct tls_signers *signers)
{
    return signers->waiting;
}

int tls_signers_ask(struct tls_signers *signers, EVP_PKEY *key, uint16_t algorithm, struct bytes digest, uint64_t owner,
                    struct tls_signature **ret_signature)
{
    if (signers->waiting == TLS_SIGNATURES_MAX || digest.length > TLS_DIGEST_BYTES_MAX ||
        EVP_PKEY_size(key) > TLS_SIGNATURE_BYTES_MAX)
        return -ENOBUFS;
    struct tls_signature *signature = malloc(sizeof *signature);
    if (signature == NULL)
        return -ENOMEM;
    *signature = (struct tls_signature){
        .key = key,
        .owner = owner,
        .algorithm = algorithm,
        .digest_bytes = (uint8_t)digest.length,
    };
    EVP_PKEY_up_ref(key);
    memcpy(signature->digest, digest.data, digest.length);
    signers->waiting++;
    pthread_mutex_lock(&signers->mutex);
    append(&signers->asked, signature);
    pthread_cond_signal(&signers->changed);
    pthread_mutex_unlock(&signers->mutex);
    *ret_signature = signature;
    return 0;
}

void tls_signers_drain(struct tls_signers *signers, void (*on_signed)(uint64_t owner, void *context), void *context)
{
    uint64_t count;
    ssize_t got = read(signers->fd, &count, sizeof count);
    (void)got; /* only to empty it */
    pthread_mutex_lock(&signers->mutex);
    struct signature_list made = signers->made;
    signers->made = (struct signature_list){};
    pthread_mutex_unlock(&signers->mutex);
    struct tls_signature *signature;
    while ((signature = take_first(&made)) != NULL) {
        signers->waiting--;
        if (signature->state == SIGNATURE_FORGOTTEN) {
            destroy(signature);
            continue;
        }
        signature->state = SIGNATURE_READY;
        on_signed(signature->owner, context);
    }
}

bool tls_signature_ready(const struct tls_signature *signature, struct bytes *ret_octets)
{
    if (signature->state != SIGNATURE_READY)
        return false;
    *ret_octets = bytes_of(signature->octets, signature->octets_length);
    return true;
}

void tls_signature_let_go(struct tls_signature *signature)
{
    if (signature == NULL)
        return;
    if (signature->state == SIGNATURE_READY)
        destroy(signature);
    else
        signature->state = SIGNATURE_FORGOTTEN;
}
