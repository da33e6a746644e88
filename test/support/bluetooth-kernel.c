/*
 * Preloaded before libc: a kernel with one Bluetooth controller, played by whoever has descriptor 100. BLUETOOTH: pair; refuse=N: it cannot be bound; file: what
 * socket() gives cannot be waited for.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BLUETOOTH_FAMILY 31

static const char *mode(void) {
  const char *text = getenv("BLUETOOTH");
  return text == NULL ? "" : text;
}

int socket(int family, int type, int protocol) {
  int (*real)(int, int, int) = (int (*)(int, int, int))dlsym(RTLD_NEXT, "socket");
  if (family != BLUETOOTH_FAMILY) return real(family, type, protocol);
  if (strcmp(mode(), "file") == 0) return open("/dev/null", O_RDWR | O_CLOEXEC);
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0) return -1;
  dup2(ends[1], 100);
  close(ends[1]);
  return ends[0];
}

int bind(int fd, const struct sockaddr *address, socklen_t length) {
  int (*real)(int, const struct sockaddr *, socklen_t) = (int (*)(int, const struct sockaddr *, socklen_t))dlsym(RTLD_NEXT, "bind");
  if (address->sa_family != BLUETOOTH_FAMILY) return real(fd, address, length);
  if (strncmp(mode(), "refuse=", 7) == 0) return errno = atoi(mode() + 7), -1;
  return 0;
}
