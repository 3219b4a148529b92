/*
 * Sandbox: how a process gives up what it does not need, for good.
 *
 * Owns:    nothing.
 * Threads: ids while the process has one thread. A lock's filter is for the calling thread and those it starts later;
 *          all else of a lock is for the whole process.
 * Order:   drop_ids, then follow_parent (a change of user clears the parent-death signal), then lock.
 */
#ifndef DAEMON_BASE_SANDBOX_H
#define DAEMON_BASE_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum { SANDBOX_NAME_BYTES = 256 };

/* Whom to become. */
struct sandbox_ids {
    bool changes; /* false: stay who we are, nothing below counts */
    bool initgroups;
    uid_t uid;
    gid_t gid;
    char user[SANDBOX_NAME_BYTES]; /* name in the user database, "" for a bare number that is not in it */
};

/*
 * Looks up names or numbers; NULL means: stay. Reads the user database, so it comes before any lock.
 * -ENOENT: no such user; -ESRCH: no such group; -EPERM: another user than ours, and we are not root.
 */
[[nodiscard]] int sandbox_resolve_ids(const char *user, const char *group, bool initgroups,
                                      struct sandbox_ids *ret_ids);

/* Groups, group, user, in this order, and proof that there is no way back. */
[[nodiscard]] int sandbox_become(const struct sandbox_ids *ids);

/* Both of the above. */
[[nodiscard]] int sandbox_drop_ids(const char *user, const char *group, bool initgroups);

/* `signal` when `parent` dies; -ESRCH when that has happened already. */
[[nodiscard]] int sandbox_follow_parent(pid_t parent, int signal);

/*
 * Before the application's interpreter is executed: no new privileges, no capability that came from a service manager,
 * and io_uring_* answer EPERM. A ring would be a
 * hole in every filter that an operator puts around an application.
 */
[[nodiscard]] int sandbox_lock_app(void);

/*
 * For the I/O process once all is open and its ring is made: not dumpable, no new privileges, and a list of the calls
 * that it may make. Files, programs, processes and new sockets are not on it: they answer EPERM. In builds with a
 * sanitizer or for coverage, which need those calls themselves, only new privileges are given up.
 */
[[nodiscard]] int sandbox_lock_io(void);

/* For a helper thread of the I/O process, by itself: no new privileges, and memory, futexes and write() are all that it
 * may ask of the kernel. */
[[nodiscard]] int sandbox_lock_signer(void);

/* Whether sandbox_lock_io() and sandbox_lock_signer() filter in this build. */
bool sandbox_filters(void);

#endif
