/* Preloaded into a run: lets the FAULT_AT-th call that changes FAULT_FOLDER fail with errno FAULT_ERRNO, and with FAULT_ALL=1
 * all after it as well, and says on stderr that it did ("fault: write of ..."). Nothing else is touched. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static atomic_int calls;

static int is_within(const char *path) {
    const char *folder = getenv("FAULT_FOLDER");
    return folder && path && strncmp(path, folder, strlen(folder)) == 0;
}

static int is_within_fd(int fd, char *path, size_t size) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, size - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return is_within(path);
}

/* Whether this call has to fail. */
static int fails(const char *what, const char *path) {
    const char *at = getenv("FAULT_AT");
    int number = atomic_fetch_add(&calls, 1) + 1, wanted = at ? atoi(at) : 0;
    const char *all = getenv("FAULT_ALL");
    if (wanted == 0 || number < wanted || (number > wanted && !(all && *all == '1'))) return 0;
    if (number == wanted) dprintf(2, "fault: %s of %s\n", what, path);
    errno = atoi(getenv("FAULT_ERRNO"));
    return 1;
}

#define REAL(type, name, ...) \
    static type (*real)(__VA_ARGS__); \
    if (!real) real = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

ssize_t write(int fd, const void *bytes, size_t count) {
    REAL(ssize_t, write, int, const void *, size_t);
    int before = errno;
    char path[4096];
    if (is_within_fd(fd, path, sizeof path) && fails("write", path)) return -1;
    errno = before;
    return real(fd, bytes, count);
}

#define ON_FD(name) \
    int name(int fd) { \
        REAL(int, name, int); \
        char path[4096]; \
        if (is_within_fd(fd, path, sizeof path) && fails(#name, path)) return -1; \
        return real(fd); \
    }
ON_FD(fsync)
ON_FD(fdatasync)

int rename(const char *from, const char *to) {
    REAL(int, rename, const char *, const char *);
    if (is_within(to) && fails("rename", to)) return -1;
    return real(from, to);
}

int mkdir(const char *path, mode_t mode) {
    REAL(int, mkdir, const char *, mode_t);
    if (is_within(path) && fails("mkdir", path)) return -1;
    return real(path, mode);
}

int ftruncate64(int fd, off64_t length) {
    REAL(int, ftruncate64, int, off64_t);
    char path[4096];
    if (is_within_fd(fd, path, sizeof path) && fails("ftruncate", path)) return -1;
    return real(fd, length);
}

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        REAL(int, name, const char *, int, ...); \
        va_list more; \
        va_start(more, flags); \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0; \
        va_end(more); \
        if (flags & (O_WRONLY | O_RDWR | O_CREAT) && is_within(path) && fails("open", path)) return -1; \
        return real(path, flags, mode); \
    }
OPEN(open)
OPEN(open64)
