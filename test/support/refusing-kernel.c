/* Preloaded before libc: a kernel that refuses what REFUSE names. gso=E: bursts; every=N: each Nth call with EAGAIN; all=E. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static int number(const char *name) {
  const char *text = getenv("REFUSE");
  const char *found = text == NULL ? NULL : strstr(text, name);
  return found == NULL ? 0 : atoi(found + strlen(name));
}

int sendmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags) {
  static int calls = 0;
  int (*real)(int, struct mmsghdr *, unsigned int, int) = (int (*)(int, struct mmsghdr *, unsigned int, int))dlsym(RTLD_NEXT, "sendmmsg");
  const int every = number("every=");
  if (every > 0 && ++calls % every == 0) return errno = EAGAIN, -1;
  if (number("all=") > 0) return errno = number("all="), -1;
  unsigned int before = 0;
  while (before < count && (number("gso=") == 0 || messages[before].msg_hdr.msg_controllen == 0)) before++;
  if (before == 0) return errno = number("gso="), -1;
  return real(fd, messages, before, flags);
}
