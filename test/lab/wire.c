/*
 * A cable between two network namespaces that can be made bad: two TAP interfaces and a seeded impairer between them.
 *
 *   wire <namespace A> <namespace B>       both get an interface eth0
 *
 * Lines on standard input set one direction: "A" is what A sends, "B" what B sends.
 *
 *   A loss=5 delay=20 jitter=2 reorder=10 rate=10000 limit=100 mtu=1300 seed=7
 *
 * loss and reorder in percent, delay and jitter in milliseconds, rate in kbit/s and mtu in bytes of IP (0: none), limit in
 * packets that wait. A line "?" prints what was counted. It ends with its standard input. Which packets are lost depends on the seed and
 * their number alone; when they arrive is wall clock.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define FRAME_MAX 65536
#define LINE_MAX_SIZE 512
#define ETHERNET_HEADER 14
#define READS_PER_TURN 64

struct packet {
  double due; /* ms */
  uint64_t order;
  int length;
  unsigned char *bytes;
};

/* One direction: its settings, its random state, and a heap of packets by the time they are due. */
struct direction {
  double loss, delay, jitter, reorder, rate, limit, mtu;
  uint64_t random;
  double line_free_at;
  double last_due;
  struct packet *heap;
  int count, capacity;
  uint64_t next_order;
  unsigned long in, out, lost, too_big, overflowed;
};

static struct direction directions[2];
static int taps[2];

static double now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e3 + t.tv_nsec * 1e-6;
}

/* splitmix64, as a number in [0, 1) */
static double draw(struct direction *d) {
  uint64_t z = d->random += 0x9e3779b97f4a7c15ull;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  z ^= z >> 31;
  return (double)(z >> 11) * (1.0 / 9007199254740992.0);
}

static int earlier(const struct packet *a, const struct packet *b) {
  return a->due < b->due || (a->due == b->due && a->order < b->order);
}

static void push(struct direction *d, double due, const unsigned char *bytes, int length) {
  if (d->count == d->capacity) {
    d->capacity = d->capacity ? 2 * d->capacity : 256;
    d->heap = realloc(d->heap, (size_t)d->capacity * sizeof *d->heap);
    if (!d->heap) abort();
  }
  struct packet p = {due, d->next_order++, length, malloc((size_t)length)};
  if (!p.bytes) abort();
  memcpy(p.bytes, bytes, (size_t)length);
  int i = d->count++;
  for (; i && earlier(&p, &d->heap[(i - 1) / 2]); i = (i - 1) / 2) d->heap[i] = d->heap[(i - 1) / 2];
  d->heap[i] = p;
}

static void pop(struct direction *d) {
  free(d->heap[0].bytes);
  struct packet p = d->heap[--d->count];
  int i = 0, child;
  while ((child = 2 * i + 1) < d->count) {
    if (child + 1 < d->count && earlier(&d->heap[child + 1], &d->heap[child])) child++;
    if (!earlier(&d->heap[child], &p)) break;
    d->heap[i] = d->heap[child];
    i = child;
  }
  if (d->count) d->heap[i] = p;
}

static void fail(const char *what) {
  fprintf(stderr, "wire: %s: %s\n", what, strerror(errno));
  exit(1);
}

static void enter(const char *namespace) {
  char path[256];
  snprintf(path, sizeof path, "/run/netns/%s", namespace);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0 || setns(fd, CLONE_NEWNET)) fail(path);
  close(fd);
}

static int open_tap(void) {
  int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) fail("/dev/net/tun");
  struct ifreq request;
  memset(&request, 0, sizeof request);
  request.ifr_flags = IFF_TAP | IFF_NO_PI;
  strcpy(request.ifr_name, "eth0");
  if (ioctl(fd, TUNSETIFF, &request)) fail("TUNSETIFF");
  return fd;
}

static void set(struct direction *d, const char *name, double value) {
  if (!strcmp(name, "loss")) d->loss = value;
  else if (!strcmp(name, "delay")) d->delay = value;
  else if (!strcmp(name, "jitter")) d->jitter = value;
  else if (!strcmp(name, "reorder")) d->reorder = value;
  else if (!strcmp(name, "rate")) d->rate = value;
  else if (!strcmp(name, "limit")) d->limit = value;
  else if (!strcmp(name, "mtu")) d->mtu = value;
  else if (!strcmp(name, "seed")) d->random = (uint64_t)value;
  else fprintf(stderr, "wire: there is no %s\n", name);
}

static void command(char *line) {
  if (*line == '?') {
    for (int k = 0; k < 2; k++) {
      struct direction *d = &directions[k];
      printf("%c in %lu out %lu lost %lu big %lu overflowed %lu\n", 'A' + k, d->in, d->out, d->lost, d->too_big, d->overflowed);
    }
  } else {
    struct direction *d = &directions[*line == 'B'];
    for (char *word = strtok(line + 1, " "); word; word = strtok(NULL, " ")) {
      char *value = strchr(word, '=');
      if (!value) continue;
      *value = 0;
      set(d, word, atof(value + 1));
    }
    puts("set");
  }
  fflush(stdout);
}

/* 0 at the end of standard input */
static int read_commands(void) {
  static char line[LINE_MAX_SIZE];
  static int length;
  ssize_t got = read(0, line + length, (size_t)(LINE_MAX_SIZE - 1 - length));
  if (got <= 0) return 0;
  length += (int)got;
  line[length] = 0;
  for (char *end; (end = strchr(line, '\n'));) {
    *end = 0;
    command(line);
    length -= (int)(end + 1 - line);
    memmove(line, end + 1, (size_t)length + 1);
  }
  if (length == LINE_MAX_SIZE - 1) length = 0;
  return 1;
}

static void take(struct direction *d, const unsigned char *bytes, int length) {
  double now = now_ms();
  int is_ip = length > ETHERNET_HEADER && ((bytes[12] == 0x08 && bytes[13] == 0x00) || (bytes[12] == 0x86 && bytes[13] == 0xdd));
  if (!is_ip) { /* ARP is never impaired */
    push(d, now, bytes, length);
    return;
  }
  d->in++;
  /* Always the same number of draws: what becomes of a packet depends on its number alone. */
  double lose = draw(d) * 100, overtake = draw(d) * 100, vary = draw(d);
  if (lose < d->loss) {
    d->lost++;
    return;
  }
  if (d->mtu && length - ETHERNET_HEADER > d->mtu) {
    d->too_big++;
    return;
  }
  if (d->count >= d->limit) {
    d->overflowed++;
    return;
  }
  double departs = now;
  if (d->rate) {
    if (d->line_free_at < now) d->line_free_at = now;
    d->line_free_at += length * 8 / d->rate;
    departs = d->line_free_at;
  }
  double due = departs + d->delay + (2 * vary - 1) * d->jitter;
  if (overtake < d->reorder) due = departs;
  else if (due < d->last_due) due = d->last_due; /* jitter alone keeps the order */
  else d->last_due = due;
  push(d, due, bytes, length);
}

static double deliver_due(void) {
  double now = now_ms(), next = -1;
  for (int k = 0; k < 2; k++) {
    struct direction *d = &directions[k];
    while (d->count && d->heap[0].due <= now) {
      if (write(taps[!k], d->heap[0].bytes, (size_t)d->heap[0].length) > 0) d->out++;
      pop(d);
    }
    if (d->count && (next < 0 || d->heap[0].due < next)) next = d->heap[0].due;
  }
  return next;
}

static void arm(int timer, double due) {
  struct itimerspec when;
  memset(&when, 0, sizeof when);
  if (due >= 0) {
    double wait = due - now_ms();
    if (wait < 0.001) wait = 0.001;
    when.it_value.tv_sec = (time_t)(wait / 1e3);
    when.it_value.tv_nsec = (long)((wait - (double)when.it_value.tv_sec * 1e3) * 1e6);
  }
  timerfd_settime(timer, 0, &when, NULL);
}

int main(int count, char **arguments) {
  if (count != 3) {
    fputs("usage: wire <namespace A> <namespace B>\n", stderr);
    return 64;
  }
  for (int k = 0; k < 2; k++) {
    enter(arguments[1 + k]);
    taps[k] = open_tap();
    directions[k].random = (uint64_t)k + 1;
    directions[k].limit = 1000;
  }
  int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
  if (timer < 0) fail("timerfd");
  puts("ready");
  fflush(stdout);
  static unsigned char frame[FRAME_MAX];
  for (;;) {
    arm(timer, deliver_due());
    struct pollfd events[4] = {{taps[0], POLLIN, 0}, {taps[1], POLLIN, 0}, {0, POLLIN, 0}, {timer, POLLIN, 0}};
    if (poll(events, 4, -1) < 0 && errno != EINTR) fail("poll");
    uint64_t expirations;
    if (events[3].revents && read(timer, &expirations, sizeof expirations) < 0 && errno != EAGAIN) fail("timer");
    if (events[2].revents && !read_commands()) return 0;
    for (int k = 0; k < 2; k++) {
      if (!events[k].revents) continue;
      for (int i = 0; i < READS_PER_TURN; i++) {
        ssize_t length = read(taps[k], frame, sizeof frame);
        if (length <= 0) break;
        take(&directions[k], frame, (int)length);
      }
    }
  }
}
