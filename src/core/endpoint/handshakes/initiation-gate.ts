import type { LinkId, LinkKind } from '../../base/domain.ts'
import type { Duration, Now } from '../../base/time.ts'
import { digestMatches } from '../../session/fragment-slots.ts'
import { cookieKey, mac1Key, OPEN_KEY, sealCookie, verifyMac1 } from '../../session/macs.ts'
import { xxBindings } from '../../session/xx-binding.ts'
import { isAnswerable, isNoiseMessageSize, suiteOf, type Suite } from '../../session/suites.ts'
import { encodeCookieDatagram } from '../../wire/datagram.ts'
import { MESSAGE_A, type HandshakeFragment } from '../../wire/handshake-fragment.ts'
import { CookieSecrets } from './cookie-secrets.ts'
import { PrefixBuckets, type LoadMeter } from './load.ts'
import type { Node } from '../node.ts'
import { ReassemblyTable } from './reassembly-table.ts'

/** Hashes that verifying and sealing a COOKIE cost. */
const COOKIE_HASHES = 6

/** Where a datagram came from; `address` (18 bytes) is nobody else's view. */
export interface Source {
  readonly link: LinkId
  readonly kind: LinkKind
  readonly address: Uint8Array
  /** Which address of ours it came to, and is answered from. */
  readonly local: number
}

/** What is known of a fragment of A that passed the cheap checks. */
export interface Passed {
  readonly suite: Suite
  /** mac2 proved the source, or the link does. */
  readonly proven: boolean
}

/**
 * Everything before the first DH (WIRE.md §3.5, steps 2 to 4, 6 and 7): from here a flood of forged A costs hashes, COOKIEs no
 * longer than what came, and one bounded table.
 */
export class InitiationGate {
  readonly #node: Node
  readonly #load: LoadMeter
  readonly #unvalidatedHalfOpen: () => number
  readonly #buckets: PrefixBuckets
  readonly #cookies: CookieSecrets
  readonly #mac1Key: Uint8Array
  readonly #cookieKey: Uint8Array
  readonly #cookieCost: Duration
  readonly reassembly: ReassemblyTable = new ReassemblyTable()

  constructor(node: Node, load: LoadMeter, unvalidatedHalfOpen: () => number, now: Now) {
    this.#node = node
    this.#load = load
    this.#unvalidatedHalfOpen = unvalidatedHalfOpen
    const key = node.randomBytes(16)
    this.#buckets = new PrefixBuckets(new Uint32Array(key.buffer, key.byteOffset, 4))
    this.#cookies = new CookieSecrets(node.provider, now.mono)
    this.#mac1Key = mac1Key(node.provider, node.identity.staticKeyPair.publicKey)
    this.#cookieKey = cookieKey(node.provider, node.identity.staticKeyPair.publicKey)
    this.#cookieCost = COOKIE_HASHES * node.provider.costs.hash
  }

  /** Steps 2 to 4 for a well-formed fragment; `undefined` when it ends here, counted. */
  pass(now: Now, fragment: HandshakeFragment, source: Source, bytes: Uint8Array, offset: number, length: number): Passed | undefined {
    const { counters, provider } = this.#node
    const suite = suiteOf(fragment.suite)
    const xx = suite?.built === true && suite.family === 'XX' && (source.kind === 'ble' || this.#node.config.acceptXx !== 'ble')
    const keys = xx ? this.#xxKeys(now, source) : [this.#mac1Key]
    if (!keys.some((key) => verifyMac1(provider, bytes, offset, length, MESSAGE_A, key))) {
      counters.add('drop_mac1')
      return undefined
    }
    // On Bluetooth nobody is asked by name: who knows an id could else look for its radio, and a friend's A from elsewhere would be answered here.
    if (suite?.built !== true || (suite.family === 'XX' && !xx) || (suite.family === 'IK' && source.kind === 'ble')) {
      counters.add('drop_suite')
      return undefined
    }
    if (!isAnswerable(suite, fragment.count)) {
      counters.add('drop_malformed_handshake')
      return undefined
    }
    const proven = this.#provenSource(now, fragment, source, bytes, offset, length, !xx)
    return proven === undefined ? undefined : { suite, proven }
  }

  /** Keys of mac1 of an XX that is answered: our presence keys, and nobody's while strangers are welcome; each for what A may be bound to there. */
  #xxKeys(now: Now, source: Source): readonly Uint8Array[] {
    const { presence, pairing, config, provider, links } = this.#node
    const known = presence.keys
    const welcome = pairing.isOpen(now) || config.acceptXx === 'open' ? [...known, OPEN_KEY] : known
    return xxBindings(links.get(source.link)?.info.nonce, now.wall).flatMap((binding) => welcome.map((k) => mac1Key(provider, k, binding)))
  }

  /** Steps 6 and 7: the whole message once its last piece came and its digest is right. */
  assemble(now: Now, fragment: HandshakeFragment, source: Source, { suite, proven }: Passed): Uint8Array | undefined {
    const { counters, provider } = this.#node
    const message = this.reassembly.add(now.mono, source.kind, source.address, fragment, proven, this.#underLoad(now))
    if (message === 'incomplete') return undefined
    if (message === 'duplicate') {
      counters.add('drop_reassembly')
      return undefined
    }
    if (message === 'malformed' || !isNoiseMessageSize(suite, MESSAGE_A, message.length) || !digestMatches(provider, message, fragment.digest)) {
      counters.add('drop_malformed_handshake')
      return undefined
    }
    return message
  }

  #underLoad(now: Now): boolean {
    return this.#load.underLoad(now.mono, this.reassembly.unvalidated, this.#unvalidatedHalfOpen())
  }

  /** Steps 3 and 4: whether mac2 proves the source; `undefined` when the fragment ends here (a COOKIE was sent, or its prefix is too fast). */
  #provenSource(now: Now, fragment: HandshakeFragment, source: Source, bytes: Uint8Array, offset: number, length: number, cookies: boolean): boolean | undefined {
    const { kind, address } = source
    // TCP and BLE prove their source by existing.
    if (kind === 'tcp' || kind === 'ble') return true
    const hasMac2 = fragment.mac2!.some((byte) => byte !== 0)
    const proven = hasMac2 && this.#cookies.verify(now.mono, kind, address, bytes, offset, length)
    if (!proven) this.#load.countUnproven(now.mono)
    if (!this.#underLoad(now)) return proven
    if (!proven) {
      this.#node.counters.add('drop_mac2')
      // XX is for connections: elsewhere it is not worth a cookie of its own.
      if (cookies) this.#sendCookie(now, fragment, source)
      return undefined
    }
    if (this.#buckets.take(now.mono, address, 0)) return true
    this.#node.counters.add('drop_rate_limited')
    return undefined
  }

  #sendCookie(now: Now, fragment: HandshakeFragment, { link, kind, address, local }: Source): void {
    const node = this.#node
    if (!this.#load.takeCookie(now.mono, this.#cookieCost)) return
    const nonce = node.randomBytes(16)
    const box = sealCookie(node.provider, this.#cookieKey, nonce, fragment.mac1, this.#cookies.cookieOf(now.mono, kind, address))
    node.counters.add('cookies_sent')
    node.sendRaw(link, address, encodeCookieDatagram(fragment.senderIndex, nonce, box), local)
  }
}
