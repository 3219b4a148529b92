#include "daemon/base/sandbox.h"

#include <assert.h>
#include <errno.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pwd.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(UROBOROS_COVERAGE)
#define INSTRUMENTED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define INSTRUMENTED 1
#endif
#endif
#ifndef INSTRUMENTED
#define INSTRUMENTED 0
#endif

#if defined(__x86_64__)
#define NATIVE_ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define NATIVE_ARCHITECTURE AUDIT_ARCH_AARCH64
#elif defined(__riscv) && __riscv_xlen == 64
#define NATIVE_ARCHITECTURE AUDIT_ARCH_RISCV64
#else
#error "name the seccomp architecture of this machine"
#endif

/* Users and groups ------------------------------------------------------------------------------------------- */

static bool parse_number(const char *text, uint32_t *ret_number)
{
    char *end;
    errno = 0;
    unsigned long number = strtoul(text, &end, 10);
    /* (uid_t)-1 means "leave it" to setresuid(). */
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || number >= UINT32_MAX)
        return false;
    *ret_number = (uint32_t)number;
    return true;
}

static int resolve_user(const char *user, struct sandbox_ids *ids)
{
    uint32_t number;
    bool numeric = parse_number(user, &number);
    const struct passwd *entry = numeric ? getpwuid(number) : getpwnam(user);

    if (entry == NULL && !numeric)
        return -ENOENT;
    ids->uid = entry != NULL ? entry->pw_uid : number;
    ids->gid = entry != NULL ? entry->pw_gid : ids->gid;
    if (entry != NULL)
        snprintf(ids->user, sizeof ids->user, "%s", entry->pw_name);
    return 0;
}

static int resolve_group(const char *group, struct sandbox_ids *ids)
{
    uint32_t number;
    if (parse_number(group, &number)) {
        ids->gid = number;
        return 0;
    }
    const struct group *entry = getgrnam(group);
    if (entry == NULL)
        return -ESRCH;
    ids->gid = entry->gr_gid;
    return 0;
}

int sandbox_resolve_ids(const char *user, const char *group, bool initgroups, struct sandbox_ids *ret_ids)
{
    struct sandbox_ids ids = {.initgroups = initgroups, .uid = geteuid(), .gid = getegid()};

    int r = user != NULL ? resolve_user(user, &ids) : 0;
    if (r == 0 && group != NULL)
        r = resolve_group(group, &ids);
    if (r < 0)
        return r;
    ids.changes = ids.uid != geteuid() || ids.gid != getegid();
    if (ids.changes && geteuid() != 0)
        return -EPERM;
    *ret_ids = ids;
    return 0;
}

static int drop_groups(const struct sandbox_ids *ids)
{
    if (ids->initgroups && ids->user[0] != '\0')
        return initgroups(ids->user, ids->gid) < 0 ? -errno : 0;
    return setgroups(1, &ids->gid) < 0 ? -errno : 0;
}

int sandbox_become(const struct sandbox_ids *ids)
{
    if (!ids->changes)
        return 0;
    int r = drop_groups(ids);
    if (r < 0)
        return r;
    if (setresgid(ids->gid, ids->gid, ids->gid) < 0 || setresuid(ids->uid, ids->uid, ids->uid) < 0)
        return -errno;
    /* Were the way back open, the caller would serve the world as root while believing otherwise. */
    if (ids->uid != 0 && setresuid(0, 0, 0) == 0)
        return -EPERM;
    return 0;
}

int sandbox_drop_ids(const char *user, const char *group, bool with_groups)
{
    struct sandbox_ids ids;
    int r = sandbox_resolve_ids(user, group, with_groups, &ids);
    return r < 0 ? r : sandbox_become(&ids);
}

int sandbox_follow_parent(pid_t parent, int signal)
{
    if (prctl(PR_SET_PDEATHSIG, signal) < 0)
        return -errno;
    return getppid() == parent ? 0 : -ESRCH;
}

/* System call filters ---------------------------------------------------------------------------------------- */

#define LOAD(field)          BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define ANSWER(what)         BPF_STMT(BPF_RET | BPF_K, (what))
#define SKIP_IF(value, jump) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value), (jump), 0)
#define DENIED               (SECCOMP_RET_ERRNO | EPERM)

static int install(struct sock_filter *filter, size_t count)
{
    struct sock_fprog program = {.len = (unsigned short)count, .filter = filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -errno;
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0 ? -errno : 0;
}

int sandbox_lock_app(void)
{
    /* The numbers 425 to 427 are the same for every architecture we run on and its 32-bit sister; x32 sets bit 30. */
    struct sock_filter filter[] = {
        LOAD(nr),
        BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0xbfffffff),
        SKIP_IF(SYS_io_uring_setup, 3),
        SKIP_IF(SYS_io_uring_enter, 2),
        SKIP_IF(SYS_io_uring_register, 1),
        ANSWER(SECCOMP_RET_ALLOW),
        ANSWER(DENIED),
    };
    /* What a service manager lent us, to bind a port below 1024, is not the application's. */
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
        return -errno;
    return install(filter, sizeof filter / sizeof filter[0]);
}

/* What the I/O process still calls once it serves; the busiest first. */
static const uint16_t io_calls[] = {
    SYS_io_uring_enter,
    SYS_write,
    SYS_read,
    SYS_recvmsg,
    SYS_sendmsg,
    SYS_futex,
    SYS_clock_gettime,
    SYS_io_uring_register,
    SYS_pwritev2,
    /* sockets and descriptors it has, or accepts */
    SYS_close,
    SYS_accept4,
    SYS_shutdown,
    SYS_getsockname,
    SYS_getpeername,
    SYS_getsockopt,
    SYS_setsockopt,
    SYS_sendto,
    SYS_recvfrom,
    SYS_readv,
    SYS_writev,
    SYS_fcntl,
    SYS_dup3,
    SYS_ppoll,
    SYS_ioctl,
    /* the file that large request bodies wait in, opened before */
    SYS_pread64,
    SYS_pwrite64,
    SYS_preadv,
    SYS_preadv2,
    SYS_pwritev,
    SYS_fallocate,
    SYS_ftruncate,
    SYS_lseek,
    SYS_fstat,
    SYS_newfstatat,
    SYS_splice,
    SYS_sendfile,
    /* arenas of new app processes */
    SYS_mmap,
    SYS_munmap,
    SYS_mremap,
    SYS_mprotect,
    SYS_madvise,
    SYS_brk,
    SYS_eventfd2,
    /* the C library's own needs: time, randomness, threads that were started before, abort() and the end */
    SYS_gettimeofday,
#ifdef SYS_time
    SYS_time, /* where the kernel maps no clock: BoringSSL's when it judges a certificate, and ours of its expiry */
#endif
    SYS_clock_nanosleep,
    SYS_nanosleep,
    SYS_setitimer, /* alarm(): an orphan's time is limited */
#ifdef SYS_alarm
    SYS_alarm,
#endif
    SYS_getrandom,
    SYS_sched_yield,
    SYS_sched_getaffinity,
    SYS_getpid,
    SYS_gettid,
    SYS_getppid,
    SYS_getuid,
    SYS_geteuid,
    SYS_getrusage,
    SYS_uname,
    SYS_set_robust_list,
    SYS_rseq,
    SYS_membarrier,
    SYS_restart_syscall,
    SYS_rt_sigprocmask,
    SYS_rt_sigaction,
    SYS_rt_sigreturn,
    SYS_rt_sigtimedwait,
    SYS_sigaltstack,
    SYS_tgkill,
    SYS_exit,
    SYS_exit_group,
#ifdef SYS_poll
    SYS_poll,
#endif
};

/* What a thread still calls that computes, sleeps on a futex, and rings an eventfd; and what the C library needs to
 * allocate, to abort and to end. */
static const uint16_t signer_calls[] = {
    SYS_futex,           SYS_write,          SYS_getrandom,    SYS_mmap,         SYS_munmap,
    SYS_mremap,          SYS_mprotect,       SYS_madvise,      SYS_brk,          SYS_clock_gettime,
    SYS_sched_yield,     SYS_rt_sigprocmask, SYS_rt_sigaction, SYS_rt_sigreturn, SYS_restart_syscall,
    SYS_getpid,          SYS_gettid,         SYS_tgkill,       SYS_exit,         SYS_exit_group,
    SYS_set_robust_list, SYS_rseq,
};

enum { FILTER_HEAD = 4, FILTER_CALLS_MAX = 254, FILTER_MAX = FILTER_HEAD + FILTER_CALLS_MAX + 2 };
static_assert(sizeof io_calls / sizeof io_calls[0] <= FILTER_CALLS_MAX,
              "a jump of the filter reaches 255 instructions");

static int filter_all_but(const uint16_t *calls, size_t count)
{
    struct sock_filter filter[FILTER_MAX] = {
        LOAD(arch),
        SKIP_IF(NATIVE_ARCHITECTURE, 1),
        ANSWER(DENIED),
        LOAD(nr),
    };
    struct sock_filter *at = filter + FILTER_HEAD;
    for (size_t i = 0; i < count; i++)
        *at++ = (struct sock_filter)SKIP_IF(calls[i], (uint8_t)(count - i));
    *at++ = (struct sock_filter)ANSWER(DENIED);
    *at++ = (struct sock_filter)ANSWER(SECCOMP_RET_ALLOW);
    return install(filter, (size_t)(at - filter));
}

bool sandbox_filters(void)
{
    return !INSTRUMENTED;
}

int sandbox_lock_io(void)
{
    if (!sandbox_filters())
        return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0;
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        return -errno;
    return filter_all_but(io_calls, sizeof io_calls / sizeof io_calls[0]);
}

int sandbox_lock_signer(void)
{
    if (!sandbox_filters())
        return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0;
    return filter_all_but(signer_calls, sizeof signer_calls / sizeof signer_calls[0]);
}
