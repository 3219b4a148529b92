/*
 * The first process of a kernel under test: shows it the files of the machine outside (hostfs), the usual file systems
 * and a loopback interface, runs the script that the kernel command line names, says its exit status, and powers off.
 *
 * Linked statically: it is all there is in the initial file system.
 */
#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct file_system {
    const char *type, *target, *data;
};

/* After the change of root; in this order. */
static const struct file_system FILE_SYSTEMS[] = {
    {"proc", "/proc", NULL},
    {"sysfs", "/sys", NULL},
    {"devtmpfs", "/dev", NULL},
    {"tmpfs", "/run", "mode=755"},
    {"tmpfs", "/dev/shm", "mode=1777"},
};

static void demand(int result, const char *what)
{
    if (result < 0) {
        perror(what);
        reboot(RB_POWER_OFF);
    }
}

static void enter_host(void)
{
    demand(mount("none", "/host", "hostfs", 0, "/"), "hostfs");
    demand(chroot("/host"), "chroot");
    demand(chdir("/"), "chdir");
    for (size_t i = 0; i < sizeof FILE_SYSTEMS / sizeof FILE_SYSTEMS[0]; i++) {
        const struct file_system *fs = &FILE_SYSTEMS[i];
        mkdir(fs->target, 0755);
        demand(mount("none", fs->target, fs->type, 0, fs->data), fs->target);
    }
}

static void raise_loopback(void)
{
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    demand(fd, "socket");
    demand(ioctl(fd, SIOCSIFFLAGS, &request), "lo");
    close(fd);
}

static int run(const char *script)
{
    pid_t child = fork();
    demand(child, "fork");
    if (child == 0) {
        setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 1);
        execl("/bin/sh", "sh", script, (char *)NULL);
        perror(script);
        _exit(127);
    }
    int status;
    /* Orphans are ours too. */
    for (pid_t ended = 0; ended != child;)
        ended = waitpid(-1, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int main(void)
{
    const char *script = getenv("script"); /* the kernel hands parameters it does not know to its first process */
    enter_host();
    raise_loopback();
    printf("\nkernel test: exit status %d\n", run(script != NULL ? script : "/bin/true"));
    fflush(stdout);
    sync();
    reboot(RB_POWER_OFF);
    return 0;
}
