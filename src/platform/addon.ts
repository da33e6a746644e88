import { closeSync, existsSync, openSync, readFileSync, readSync } from 'node:fs'
import { createRequire } from 'node:module'
import { isAbsolute, join } from 'node:path'
import { fileURLToPath } from 'node:url'

declare const aead: unique symbol
declare const x25519: unique symbol
declare const x25519Key: unique symbol
declare const hash: unique symbol

/** An AEAD engine of the addon, with its own key slots. */
export interface AddonAead { readonly [aead]: true }

/** An X25519 engine of the addon. */
export interface AddonX25519 { readonly [x25519]: true }

/** A private key in OpenSSL's memory, which is overwritten when the object is collected. */
export interface AddonX25519Key { readonly [x25519Key]: true }

/** SHA-256 over a scratch array. */
export interface AddonHash { readonly [hash]: true }

/** ChaCha20-Poly1305, X25519 and SHA-256 on the OpenSSL inside node (native/addon/src/aead.h, x25519.h, hash.h). An AEAD result other than 0 means that nothing was done. */
export interface AddonCrypto {
  aeadOpen(): AddonAead
  aeadAddKey(aead: AddonAead, key: Uint8Array): number
  aeadRemoveKey(aead: AddonAead, slot: number): boolean
  aeadSealBatch(
    aead: AddonAead, bytes: Uint8Array, count: number, key: Int32Array, counter: Float64Array, offset: Int32Array, length: Int32Array,
    pieceEnd: Int32Array, pieceTo: Int32Array, pieceFrom: Int32Array, pieceLength: Int32Array,
  ): number
  aeadOpenBatch(aead: AddonAead, bytes: Uint8Array, count: number, key: Int32Array, counter: Float64Array, offset: Int32Array, length: Int32Array): number
  aeadSealOne(aead: AddonAead, key: Uint8Array, nonce: Uint8Array, associated: Uint8Array, plaintext: Uint8Array, sealed: Uint8Array): boolean
  aeadOpenOne(aead: AddonAead, key: Uint8Array, nonce: Uint8Array, associated: Uint8Array, sealed: Uint8Array, plaintext: Uint8Array): boolean
  x25519Open(): AddonX25519
  /** Writes the public key; so does the next. */
  x25519Generate(engine: AddonX25519, publicKey: Uint8Array): AddonX25519Key
  x25519FromPrivate(engine: AddonX25519, secret: Uint8Array, publicKey: Uint8Array): AddonX25519Key
  /** False when the shared secret is all zero, and `shared` then is overwritten. */
  x25519Derive(engine: AddonX25519, privateKey: AddonX25519Key, publicKey: Uint8Array, shared: Uint8Array): boolean
  /** Input and results of the following lie in `scratch` (native/addon/src/hash-object.cc). */
  hashOpen(scratch: Uint8Array): AddonHash
  hashSha256(hash: AddonHash, length: number): boolean
  hashHmac(hash: AddonHash, length: number, keyLength: number): boolean
  hashHkdf2(hash: AddonHash, length: number): boolean
}

/** UDP with batches and bursts, on Linux (native/addon/src/udp-object.cc); how it is used is in net/udp-native.ts. */
export interface AddonUdp {
  udpOpen(address: Uint8Array, family: number, features: number, receiveBuffer: number, sendBuffer: number, local: Uint8Array, facts: Int32Array): object
  udpStart(
    socket: object, callback: (event: number, value: number, extra: number) => void, arena: Uint8Array, slabOffset: number, slabSize: number,
    address: Uint8Array, offset: Int32Array, length: Int32Array, segmentSize: Int32Array, ecn: Uint8Array, local: Uint8Array, rows: Int32Array, addresses: Uint8Array, hints: Int32Array, hintAddresses: Uint8Array,
  ): void
  udpSend(socket: object, head: number, count: number): number
  udpClose(socket: object): void
  udpFeatures(socket: object): number
}

/** Bound TCP sockets, on Linux (native/addon/src/tcp.cc); how they are used is in net/tcp-native.ts. */
export interface AddonTcp {
  /** A descriptor that the caller closes; throws the system's error. */
  tcpBind(address: Uint8Array, family: number, only6: number, mode: number): number
}

/** Word of the kernel about addresses and routes, on Linux (native/addon/src/netlink.cc); how it is used is in net/network-watch.ts. */
export interface AddonNetlink {
  /** `gone`: an address or a route is no longer there. It does not keep the process alive, and goes on until it is closed. */
  netlinkOpen(onNews: (gone: boolean) => void): object
  netlinkClose(watch: object): void
}

/** Small facts of the operating system (native/addon/src/system.cc). */
export interface AddonSystem {
  /** The user who connected a Unix socket, −1 for anything else. */
  peerUid(fd: number): number
  /** flock(2), exclusive, without waiting: 0 or a negative errno, EAGAIN when another open file has it. */
  lockFile(fd: number): number
  /** One datagram to a Unix socket, `@…` for an abstract one, without waiting: 0 or a negative errno. */
  sendUnix(path: Uint8Array, message: Uint8Array): number
}

/** The addon's parts; one is absent where the machine does not offer what it is made of. */
export interface Addon {
  readonly path: string
  readonly crypto: AddonCrypto | undefined
  readonly udp: AddonUdp | undefined
  readonly tcp: AddonTcp | undefined
  readonly netlink: AddonNetlink | undefined
  readonly system: AddonSystem
}

export type AddonState =
  | { readonly kind: 'loaded'; readonly addon: Addon }
  /** `reason` is for people: what is missing, and what to do about it. */
  | { readonly kind: 'absent'; readonly reason: string }

/** The addon's own number for what may be called and how (native/addon/src/addon.cc). */
const INTERFACE = 15

const directory = fileURLToPath(new URL('../../native/addon/', import.meta.url))

/**
 * Where a release keeps the addon for this machine. Two C libraries of Linux share no binaries: which one this node runs on, its own program says, in the first
 * page (the interpreter that loads it).
 */
export function prebuildName(program: string = process.execPath): string {
  return `${process.platform}-${process.arch}${process.platform === 'linux' && isMusl(program) ? '-musl' : ''}`
}

function isMusl(program: string): boolean {
  const head = Buffer.alloc(4096)
  try {
    const file = openSync(program, 'r')
    try {
      readSync(file, head, 0, head.length, 0)
    } finally {
      closeSync(file)
    }
  } catch {
    return false
  }
  return head.includes('/ld-musl-')
}

/** Where a built addon is looked for: what was built here goes before what was shipped. */
function places(): readonly string[] {
  return [join(directory, 'built', 'postern.node'), join(directory, 'prebuilds', prebuildName(), 'postern.node')]
}

let state: AddonState | undefined

/** The addon of this process, looked for once. `POSTERN_NATIVE=0` in the environment leaves it out; a path there is another build, which is taken or none. */
export function loadAddon(environment: NodeJS.ProcessEnv = process.env): AddonState {
  const wish = environment['POSTERN_NATIVE']
  if (wish === '0') return { kind: 'absent', reason: 'switched off by POSTERN_NATIVE=0' }
  return state ??= wish !== undefined && isAbsolute(wish) ? load([wish], `there is no ${wish}`) : load(places(), `not built: ${whyNotBuilt()}`)
}

function load(paths: readonly string[], otherwise: string): AddonState {
  let reason = otherwise
  for (const path of paths) {
    if (!existsSync(path)) continue
    try {
      return { kind: 'loaded', addon: checked(path, createRequire(import.meta.url)(path)) }
    } catch (error) {
      reason = `${path} cannot be loaded: ${error instanceof Error ? error.message : String(error)}`
    }
  }
  return { kind: 'absent', reason }
}

/** The build leaves a note when it could not be done (config/native.mjs). */
function whyNotBuilt(): string {
  try {
    return readFileSync(join(directory, 'built', 'reason.txt'), 'utf8').trim()
  } catch {
    return 'run "npm run build:native"'
  }
}

/** A library is trusted to be what its number says: `unknown` ends here. */
function checked(path: string, exports: unknown): Addon {
  const parts = exports as Partial<AddonCrypto & AddonUdp & AddonTcp & AddonNetlink & AddonSystem> & { readonly interface?: unknown }
  if (parts.interface !== INTERFACE) throw new Error('it was built from other sources; run "npm run build:native"')
  return {
    path, crypto: parts.aeadOpen === undefined ? undefined : parts as AddonCrypto, udp: parts.udpOpen === undefined ? undefined : parts as AddonUdp,
    tcp: parts.tcpBind === undefined ? undefined : parts as AddonTcp, netlink: parts.netlinkOpen === undefined ? undefined : parts as AddonNetlink, system: parts as AddonSystem,
  }
}
