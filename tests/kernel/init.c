/*
 * The first process of a kernel under test: loads the modules that lie beside it, shows the files of the machine
 * outside (read-only, by hostfs or 9p, as the kernel command line says), the usual file systems and a loopback
 * interface, runs the script that the command line names, says its exit status, and powers off.
 *
 * Linked statically: but for the modules it is all there is in the initial file system.
 */
#include <dirent.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* The client of a test opens a thousand connections; the first process of a kernel gets 1024 descriptors. */
enum { DESCRIPTORS_MAX = 65536 };

struct file_system {
    const char *type, *target, *data;
};

/* After the change of root; in this order. What is written stays in the guest's memory. */
static const struct file_system FILE_SYSTEMS[] = {
    {"proc", "/proc", NULL},       {"sysfs", "/sys", NULL},
    {"devtmpfs", "/dev", NULL},    {"tmpfs", "/dev/shm", "mode=1777"},
    {"tmpfs", "/run", "mode=755"}, {"tmpfs", "/tmp", "mode=1777"},
};

/* Without an exit status on the console the run counts as failed. */
static void demand(int result, const char *what)
{
    if (result < 0) {
        perror(what);
        reboot(RB_POWER_OFF);
    }
}

/* The script finds what the guest's own file systems cover below /mnt. */
static void enter_host(const char *type)
{
    if (strcmp(type, "9p") == 0)
        demand(mount("host", "/host", type, MS_RDONLY, "trans=virtio,version=9p2000.L,cache=loose,msize=524288"), type);
    else
        demand(mount("none", "/host", type, MS_RDONLY, "/"), type);
    demand(mount("/host", "/host/mnt", NULL, MS_BIND, NULL), "/mnt");
    demand(chroot("/host"), "chroot");
    demand(chdir("/"), "chdir");
}

static void mount_file_systems(void)
{
    for (size_t i = 0; i < sizeof FILE_SYSTEMS / sizeof FILE_SYSTEMS[0]; i++) {
        const struct file_system *fs = &FILE_SYSTEMS[i];
        mkdir(fs->target, 0755); /* only /dev/shm is not there yet */
        demand(mount("none", fs->target, fs->type, 0, fs->data), fs->target);
    }
    demand(symlink("/proc/self/fd", "/dev/fd"), "/dev/fd");
}

static void raise_loopback(void)
{
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    demand(fd, "socket");
    demand(ioctl(fd, SIOCSIFFLAGS, &request), "lo");
    close(fd);
}

static void raise_limits(void)
{
    const struct rlimit descriptors = {.rlim_cur = DESCRIPTORS_MAX, .rlim_max = DESCRIPTORS_MAX};
    demand(setrlimit(RLIMIT_NOFILE, &descriptors), "RLIMIT_NOFILE");
}

static int is_module(const struct dirent *entry)
{
    return strstr(entry->d_name, ".ko") != NULL;
}

/* In the order of their names. What is missing is missed by the tests that need it. */
static void load_modules(void)
{
    struct dirent **entries;
    int count = scandir("/modules", &entries, is_module, alphasort);
    for (int i = 0; i < count; i++) {
        char path[512];
        snprintf(path, sizeof path, "/modules/%s", entries[i]->d_name);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || syscall(SYS_finit_module, fd, "", 0) < 0)
            perror(path);
        close(fd);
        free(entries[i]);
    }
    if (count >= 0)
        free(entries);
}

static int run(int script)
{
    pid_t child = fork();
    demand(child, "fork");
    if (child == 0) {
        char path[32];
        snprintf(path, sizeof path, "/dev/fd/%d", script);
        setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 1);
        execl("/bin/sh", "sh", path, (char *)NULL);
        perror("/bin/sh");
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
    /* The kernel hands parameters it does not know to its first process. */
    const char *path = getenv("script"), *host = getenv("hostfiles");
    load_modules();
    enter_host(host != NULL ? host : "hostfs");
    /* Opened before a file system of the guest's own covers the place where it lies. */
    int script = open(path != NULL ? path : "", O_RDONLY);
    demand(script, "script");
    mount_file_systems();
    raise_loopback();
    raise_limits();
    printf("\nkernel test: exit status %d\n", run(script));
    fflush(stdout);
    sync();
    reboot(RB_POWER_OFF);
    return 0;
}
