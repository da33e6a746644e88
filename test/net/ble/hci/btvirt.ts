import { execFileSync, spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

/**
 * Loaded into the emulator before its libraries. It puts its sockets, which have fixed names in /tmp, into a directory of the test; and where the kernel has no AF_ALG
 * it gives a descriptor in place of that socket, without which the emulator has no controllers. Nothing here asks it to encrypt anything.
 */
const PRELOAD = String.raw`
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
static int isCrypto[1024];
int socket(int domain, int type, int protocol) {
  int (*real)(int, int, int) = dlsym(RTLD_NEXT, "socket");
  int fd = real(domain, type, protocol);
  if (fd >= 0 || domain != AF_ALG) return fd;
  fd = eventfd(0, EFD_CLOEXEC);
  if (fd >= 0 && fd < 1024) isCrypto[fd] = 1;
  return fd;
}
int bind(int fd, const struct sockaddr *address, socklen_t length) {
  int (*real)(int, const struct sockaddr *, socklen_t) = dlsym(RTLD_NEXT, "bind");
  if (fd >= 0 && fd < 1024 && isCrypto[fd]) return 0;
  if (address->sa_family != AF_UNIX) return real(fd, address, length);
  struct sockaddr_un moved = { .sun_family = AF_UNIX };
  const char *name = strrchr(((const struct sockaddr_un *)address)->sun_path, '/');
  snprintf(moved.sun_path, sizeof moved.sun_path, "%s%s", getenv("SOCKETS"), name == NULL ? "/" : name);
  return real(fd, (struct sockaddr *)&moved, sizeof moved);
}
int unlink(const char *path) { (void)path; return 0; }
`

const PATIENCE_MS = 30_000

/** A sentence if the emulator cannot run here. */
export function whyNoBtvirt(): string | undefined {
  for (const [program, name] of [['btvirt', 'bluez-test-tools'], ['cc', 'gcc']] as const) {
    if (spawnSync('sh', ['-c', `command -v ${program}`]).status !== 0) return `${program} is not installed (${name})`
  }
  return undefined
}

/** BlueZ's emulator: every connection to its socket is a controller of one air. Of links between them it knows one at a time. */
export class Btvirt implements AsyncDisposable {
  readonly socket: string
  readonly #directory: string
  readonly #child: ChildProcess
  #out = ''

  private constructor(directory: string) {
    this.#directory = directory
    this.socket = join(directory, 'bt-server-le')
    this.#child = spawn('btvirt', ['-s'], { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, LD_PRELOAD: join(directory, 'preload.so'), SOCKETS: directory } })
    for (const stream of [this.#child.stdout!, this.#child.stderr!]) stream.on('data', (text) => { this.#out += String(text) })
  }

  static async start(): Promise<Btvirt> {
    const directory = mkdtempSync(join(tmpdir(), 'btvirt-'))
    const source = join(directory, 'preload.c')
    writeFileSync(source, PRELOAD)
    execFileSync('cc', ['-shared', '-fPIC', '-O1', '-o', join(directory, 'preload.so'), source, '-ldl'])
    const emulator = new Btvirt(directory)
    const end = performance.now() + PATIENCE_MS
    while (!existsSync(emulator.socket)) {
      if (emulator.#child.exitCode !== null || performance.now() > end) throw new Error(`btvirt did not begin: ${emulator.#out}`)
      await sleep(10)
    }
    return emulator
  }

  /** As a controller that is pulled out. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      const ended = new Promise((resolve) => void this.#child.once('exit', resolve))
      this.#child.kill('SIGKILL')
      await ended
    }
    rmSync(this.#directory, { recursive: true, force: true })
  }
}
