/* Preloaded into the router: counts the syncs of event logs, and lets every sync fail while a file exists.
 *
 * SAF_SYNC_COUNT names a file of eight bytes that holds how many fdatasync calls on event logs have succeeded; it is mapped, so a
 * test reads it without a race. SAF_SYNC_FAIL names the file whose existence makes fdatasync and fsync fail with EIO. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static _Atomic uint64_t *count;

__attribute__((constructor)) static void map_count(void) {
  const char *path = getenv("SAF_SYNC_COUNT");
  int fd = path ? open(path, O_RDWR) : -1;
  if (fd < 0) return;
  void *page = mmap(NULL, sizeof *count, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  if (page != MAP_FAILED) count = page;
}

static int must_fail(void) {
  const char *trigger = getenv("SAF_SYNC_FAIL");
  return trigger && access(trigger, F_OK) == 0;
}

static int is_event_log(int fd) {
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return 0;
  path[length] = 0;
  /* Not the spare segment, which a thread of its own makes ready. */
  return strstr(path, "/streams/events/events/") && length > 4 && strcmp(path + length - 4, ".seg") == 0;
}

static int call(const char *name, int fd) {
  if (must_fail()) {
    errno = EIO;
    return -1;
  }
  int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
  int result = real(fd);
  if (result == 0 && count && is_event_log(fd)) atomic_fetch_add(count, 1);
  return result;
}

int fdatasync(int fd) { return call("fdatasync", fd); }
int fsync(int fd) { return call("fsync", fd); }
