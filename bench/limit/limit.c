/*
 * What this machine's kernel and one core of C can do with datagrams on the loopback: the limit to hold Postern against, and the
 * measure by which figures of two machines or two moments are compared. Linux.
 *
 *   limit hop <one|mmsg|gso> <bytes> <milliseconds> <plain|aead>   sender and receiver, two processes; one line of JSON
 *   limit calibrate <milliseconds>                                  a fixed mix of work in one process; one line of JSON
 *
 * AEAD is ChaCha20-Poly1305 of OpenSSL, where its headers were there to compile with (-DWITH_OPENSSL). The mix for calibration uses
 * a ChaCha20 of its own, so that it is the same everywhere.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#ifdef WITH_OPENSSL
#include <openssl/evp.h>
#endif
#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#define UDP_GRO 104
#endif
#ifndef SOL_UDP
#define SOL_UDP 17
#endif

enum { BATCH = 64, SLOT = 65536, BUFFER = 4 << 20, COUNTER = 8, TAG = 16, BURST_MAX = 64000 };

static double clock_of(clockid_t id) {
  struct timespec t;
  clock_gettime(id, &t);
  return t.tv_sec + t.tv_nsec * 1e-9;
}
static double now(void) { return clock_of(CLOCK_MONOTONIC); }
static double cpu(void) { return clock_of(CLOCK_PROCESS_CPUTIME_ID); }

static void die(const char *what) {
  perror(what);
  exit(1);
}

/* ── AEAD: counter (8 bytes, associated data), ciphertext, tag ── */

#ifdef WITH_OPENSSL
typedef EVP_CIPHER_CTX *aead;
static aead aead_new(int sealing) {
  EVP_CIPHER *cipher = EVP_CIPHER_fetch(NULL, "ChaCha20-Poly1305", NULL);
  aead context = EVP_CIPHER_CTX_new();
  uint8_t key[32] = {1}, nonce[12] = {0};
  if (sealing) EVP_EncryptInit_ex2(context, cipher, key, nonce, NULL);
  else EVP_DecryptInit_ex2(context, cipher, key, nonce, NULL);
  return context;
}
static void aead_seal(aead c, uint8_t *out, const uint8_t *plain, int size, uint64_t counter) {
  uint8_t nonce[12] = {0};
  int length;
  memcpy(nonce + 4, &counter, COUNTER);
  memcpy(out, &counter, COUNTER);
  EVP_EncryptInit_ex2(c, NULL, NULL, nonce, NULL);
  EVP_EncryptUpdate(c, NULL, &length, out, COUNTER);
  EVP_EncryptUpdate(c, out + COUNTER, &length, plain, size);
  EVP_EncryptFinal_ex(c, out + COUNTER + size, &length);
  EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_GET_TAG, TAG, out + COUNTER + size);
}
static int aead_open(aead c, uint8_t *out, uint8_t *datagram, int total) {
  int size = total - COUNTER - TAG, length;
  uint8_t nonce[12] = {0};
  memcpy(nonce + 4, datagram, COUNTER);
  EVP_DecryptInit_ex2(c, NULL, NULL, nonce, NULL);
  EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_SET_TAG, TAG, datagram + COUNTER + size);
  EVP_DecryptUpdate(c, NULL, &length, datagram, COUNTER);
  EVP_DecryptUpdate(c, out, &length, datagram + COUNTER, size);
  return EVP_DecryptFinal_ex(c, out + size, &length) == 1;
}
#else
typedef int aead;
static aead aead_new(int sealing) {
  (void)sealing;
  fprintf(stderr, "compiled without OpenSSL\n");
  exit(3);
}
static void aead_seal(aead c, uint8_t *o, const uint8_t *p, int n, uint64_t x) { (void)c, (void)o, (void)p, (void)n, (void)x; }
static int aead_open(aead c, uint8_t *o, uint8_t *d, int n) { return (void)c, (void)o, (void)d, (void)n, 1; }
#endif

/* ── one hop, two processes ── */

struct shared {
  volatile uint64_t received, bytes, bad;
  volatile int stop;
  volatile double cpu;
};

/* The size of a segment when the kernel handed over several in one. */
static int segment_of(struct msghdr *message, int whole) {
  for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c != NULL; c = CMSG_NXTHDR(message, c)) {
    if (c->cmsg_level != SOL_UDP || c->cmsg_type != UDP_GRO) continue;
    int size;
    memcpy(&size, CMSG_DATA(c), sizeof size);
    return size;
  }
  return whole;
}

static void receive(int fd, int one, int sealed, struct shared *shared) {
  uint8_t *slab = malloc((size_t)SLOT * BATCH), *plain = malloc(SLOT);
  struct mmsghdr headers[BATCH];
  struct iovec vectors[BATCH];
  char control[BATCH][64];
  aead context = sealed ? aead_new(0) : (aead)0;
  uint64_t received = 0, bytes = 0, bad = 0;
  memset(headers, 0, sizeof headers);
  double began = cpu();
  while (!shared->stop) {
    for (int i = 0; i < BATCH; i++) {
      vectors[i] = (struct iovec){slab + (size_t)SLOT * i, SLOT};
      headers[i].msg_hdr.msg_iov = &vectors[i];
      headers[i].msg_hdr.msg_iovlen = 1;
      headers[i].msg_hdr.msg_control = control[i];
      headers[i].msg_hdr.msg_controllen = sizeof control[i];
    }
    int count = recvmmsg(fd, headers, one ? 1 : BATCH, MSG_WAITFORONE, NULL);
    for (int i = 0; i < count; i++) {
      int length = (int)headers[i].msg_len, segment = segment_of(&headers[i].msg_hdr, length);
      for (int at = 0; at < length; at += segment) {
        int size = length - at < segment ? length - at : segment;
        received++;
        bytes += (uint64_t)size;
        if (sealed) bad += !aead_open(context, plain, slab + (size_t)SLOT * i + at, size);
      }
    }
    shared->received = received;
    shared->bytes = bytes;
    shared->bad = bad;
  }
  shared->cpu = cpu() - began;
  _exit(0);
}

static int hop(const char *mode, int size, double seconds, int sealed) {
  int gso = !strcmp(mode, "gso"), one = !strcmp(mode, "one"), buffer = BUFFER, on = 1;
  if (size < COUNTER + TAG + 1 || size > BURST_MAX || (!gso && !one && strcmp(mode, "mmsg"))) return 64;
  struct shared *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  struct timeval patience = {0, 100000};
  int in = socket(AF_INET, SOCK_DGRAM, 0), out = socket(AF_INET, SOCK_DGRAM, 0);
  setsockopt(in, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
  setsockopt(out, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
  setsockopt(in, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  if (gso && setsockopt(in, SOL_UDP, UDP_GRO, &on, sizeof on)) die("UDP_GRO");
  if (bind(in, (void *)&address, length) || getsockname(in, (void *)&address, &length)) die("bind");
  pid_t child = fork();
  if (child < 0) die("fork");
  if (child == 0) receive(in, one, sealed, shared);
  if (connect(out, (void *)&address, length)) die("connect");

  int per = gso ? (BURST_MAX / size > BATCH ? BATCH : BURST_MAX / size) : BATCH;
  uint8_t *slab = calloc(BATCH, SLOT), *plain = calloc(1, SLOT);
  struct mmsghdr headers[BATCH];
  struct iovec vectors[BATCH];
  memset(headers, 0, sizeof headers);
  for (int i = 0; i < BATCH; i++) {
    vectors[i] = (struct iovec){slab + (size_t)i * size, (size_t)size};
    headers[i].msg_hdr.msg_iov = &vectors[i];
    headers[i].msg_hdr.msg_iovlen = 1;
  }
  struct iovec burst = {slab, (size_t)per * size};
  union { char bytes[CMSG_SPACE(sizeof(uint16_t))]; struct cmsghdr align; } control;
  struct msghdr super = {.msg_iov = &burst, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
  struct cmsghdr *c = CMSG_FIRSTHDR(&super);
  *c = (struct cmsghdr){.cmsg_level = SOL_UDP, .cmsg_type = UDP_SEGMENT, .cmsg_len = CMSG_LEN(sizeof(uint16_t))};
  uint16_t segment = (uint16_t)size;
  memcpy(CMSG_DATA(c), &segment, sizeof segment);

  aead context = sealed ? aead_new(1) : (aead)0;
  uint64_t sent = 0, counter = 0;
  double used = cpu(), began = now(), until = began + seconds;
  while (now() < until) {
    if (sealed) for (int i = 0; i < per; i++) aead_seal(context, slab + (size_t)i * size, plain, size - COUNTER - TAG, counter++);
    if (gso) {
      if (sendmsg(out, &super, 0) < 0) die("UDP_SEGMENT");
      sent += (uint64_t)per;
    } else if (one) {
      for (int i = 0; i < per; i++) sent += send(out, slab + (size_t)i * size, (size_t)size, 0) == size;
    } else {
      int count = sendmmsg(out, headers, (unsigned)per, 0);
      if (count > 0) sent += (uint64_t)count;
    }
  }
  double elapsed = now() - began;
  used = cpu() - used;
  usleep(30000); /* what the socket still holds */
  shared->stop = 1;
  waitpid(child, NULL, 0);
  printf("{\"sent\":%llu,\"received\":%llu,\"bytes\":%llu,\"bad\":%llu,\"seconds\":%.6f,\"senderCpu\":%.6f,\"receiverCpu\":%.6f}\n", (unsigned long long)sent,
         (unsigned long long)shared->received, (unsigned long long)shared->bytes, (unsigned long long)shared->bad, elapsed, used, shared->cpu);
  return shared->bad == 0 ? 0 : 1;
}

/* ── the calibrator: ChaCha20 of 1152 bytes and one datagram over the loopback, over and over ── */

#define ROTATE(x, n) ((x) << (n) | (x) >> (32 - (n)))
#define QUARTER(a, b, c, d) (a += b, d = ROTATE(d ^ a, 16), c += d, b = ROTATE(b ^ c, 12), a += b, d = ROTATE(d ^ a, 8), c += d, b = ROTATE(b ^ c, 7))

/* RFC 8439 §2.3 */
static void chacha20_block(uint32_t out[16], const uint32_t in[16]) {
  uint32_t x[16];
  memcpy(x, in, sizeof x);
  for (int i = 0; i < 10; i++) {
    QUARTER(x[0], x[4], x[8], x[12]), QUARTER(x[1], x[5], x[9], x[13]), QUARTER(x[2], x[6], x[10], x[14]), QUARTER(x[3], x[7], x[11], x[15]);
    QUARTER(x[0], x[5], x[10], x[15]), QUARTER(x[1], x[6], x[11], x[12]), QUARTER(x[2], x[7], x[8], x[13]), QUARTER(x[3], x[4], x[9], x[14]);
  }
  for (int i = 0; i < 16; i++) out[i] = x[i] + in[i];
}

static int calibrate(double seconds) {
  enum { SIZE = 1181, BLOCKS = 18, PER_ROUND = 64 };
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  int in = socket(AF_INET, SOCK_DGRAM, 0), out = socket(AF_INET, SOCK_DGRAM, 0);
  if (bind(in, (void *)&address, length) || getsockname(in, (void *)&address, &length) || connect(out, (void *)&address, length)) die("loopback");
  uint32_t state[16] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574, 1}, datagram[512] = {0}, sink = 0;
  uint64_t units = 0;
  double until = now() + seconds, began = cpu();
  while (now() < until) {
    for (int i = 0; i < PER_ROUND; i++, units++) {
      for (int block = 0; block < BLOCKS; block++) {
        state[12]++;
        chacha20_block(datagram + 16 * block, state);
      }
      if (send(out, datagram, SIZE, 0) != SIZE || recv(in, datagram, sizeof datagram, 0) != SIZE) die("loopback");
      sink ^= datagram[0];
    }
  }
  double used = cpu() - began;
  printf("{\"units\":%llu,\"cpuNsPerUnit\":%.3f,\"sink\":%u}\n", (unsigned long long)units, used * 1e9 / (double)units, sink);
  return 0;
}

int main(int count, char **arguments) {
  if (count == 6 && !strcmp(arguments[1], "hop")) return hop(arguments[2], atoi(arguments[3]), atof(arguments[4]) / 1000, !strcmp(arguments[5], "aead"));
  if (count == 3 && !strcmp(arguments[1], "calibrate")) return calibrate(atof(arguments[2]) / 1000);
  fprintf(stderr, "usage: limit hop <one|mmsg|gso> <bytes> <milliseconds> <plain|aead> | limit calibrate <milliseconds>\n");
  return 64;
}
