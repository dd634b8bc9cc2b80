/* A failing disk, by LD_PRELOAD: calls that touch files below a folder are counted, and some of them fail.

disk_fails(folder, first, last, error, what) lets the calls number first to last fail with an error number.
what: 1 for calls that need room (writes, new names), 2 for all others (reads, syncs, removals), 3 for both.
disk_calls() is the number of calls that were counted since then. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { ROOM = 1, OTHER = 2 };
static char below[PATH_MAX];
static long counted, from, until;
static int number, chosen;

void disk_fails(const char *folder, long first, long last, int error, int what) {
  snprintf(below, sizeof below, "%s", folder);
  counted = 0, from = first, until = last, number = error, chosen = what;
}

long disk_calls(void) { return counted; }

static int fails(const char *path, int kind) {
  if (!below[0] || !(kind & chosen) || strncmp(path, below, strlen(below))) return 0;
  counted++;
  if (counted < from || counted > until) return 0;
  errno = number;
  return 1;
}

static int file_fails(int file, int kind) {
  if (!below[0] || !(kind & chosen)) return 0;
  char link[64], path[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return 0;
  path[length] = 0;
  return fails(path, kind);
}

#define REAL(name) static typeof(&name) real; if (!real) real = (typeof(&name))dlsym(RTLD_NEXT, #name)
#define BY_FILE(type, name, parameters, arguments, kind) \
  type name parameters { REAL(name); return file_fails(file, kind) ? -1 : real arguments; }
#define BY_PATH(name, parameters, arguments, kind) \
  int name parameters { REAL(name); return fails(path, kind) ? -1 : real arguments; }

BY_FILE(ssize_t, write, (int file, const void *data, size_t size), (file, data, size), ROOM)
BY_FILE(ssize_t, writev, (int file, const struct iovec *parts, int count), (file, parts, count), ROOM)
BY_FILE(ssize_t, pwrite, (int file, const void *data, size_t size, off_t at), (file, data, size, at), ROOM)
BY_FILE(ssize_t, pwrite64, (int file, const void *data, size_t size, off64_t at), (file, data, size, at), ROOM)
ssize_t sendfile(int file, int in, off_t *at, size_t size);
ssize_t sendfile64(int file, int in, off64_t *at, size_t size);
BY_FILE(ssize_t, sendfile, (int file, int in, off_t *at, size_t size), (file, in, at, size), ROOM)
BY_FILE(ssize_t, sendfile64, (int file, int in, off64_t *at, size_t size), (file, in, at, size), ROOM)
BY_FILE(ssize_t, read, (int file, void *data, size_t size), (file, data, size), OTHER)
BY_FILE(ssize_t, pread, (int file, void *data, size_t size, off_t at), (file, data, size, at), OTHER)
BY_FILE(ssize_t, pread64, (int file, void *data, size_t size, off64_t at), (file, data, size, at), OTHER)
BY_FILE(int, fsync, (int file), (file), OTHER)
BY_FILE(int, fdatasync, (int file), (file), OTHER)
BY_FILE(int, ftruncate, (int file, off_t size), (file, size), OTHER)
BY_FILE(int, ftruncate64, (int file, off64_t size), (file, size), OTHER)
BY_PATH(mkdir, (const char *path, mode_t mode), (path, mode), ROOM)
BY_PATH(link, (const char *path, const char *to), (path, to), ROOM)
BY_PATH(rename, (const char *path, const char *to), (path, to), ROOM)
BY_PATH(unlink, (const char *path), (path), OTHER)
BY_PATH(rmdir, (const char *path), (path), OTHER)

#define OPENING(name) \
  int name(const char *path, int flags, ...) { \
    REAL(name); \
    va_list rest; \
    va_start(rest, flags); \
    mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
    va_end(rest); \
    return fails(path, flags & O_CREAT ? ROOM : OTHER) ? -1 : real(path, flags, mode); \
  }
OPENING(open)
OPENING(open64)
