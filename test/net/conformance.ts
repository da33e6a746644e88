import { afterEach, describe, expect, it } from 'vitest'
import { ADDRESS_SIZE, equalAddress } from '../../src/core/base/address.ts'
import { PosternError } from '../../src/core/base/errors.ts'
import type { LinkId, LinkKind, TransmitBatch } from '../../src/core/endpoint/contract.ts'
import type { ConnectionDriver, Driver } from '../../src/net/driver.ts'
import { turn, until, type TestHost } from './udp-support.ts'

/** One end of an open link. The slab is {@link PARTY_SLAB} bytes of the host's arena, for transmit batches. */
export interface Party {
  readonly host: TestHost
  readonly driver: Driver
  readonly batch: TransmitBatch
  readonly slab: number
  readonly link: LinkId
  /** The other end, 18 bytes. */
  readonly to: Uint8Array
}

export const PARTY_SLAB = 131_072

/** What a transport brings to be tested. Everything it opened is closed by `close`. */
export interface Medium {
  pair(): Promise<{ readonly a: Party; readonly b: Party }>
  /** A party whose medium takes nothing until `release`, and is `blocked` after at most `bytes`. */
  stalled(): Promise<{ readonly party: Party; readonly bytes: number; readonly release: () => void }>
  /** A party whose link ends by itself when `snap` is called. */
  fragile(): Promise<{ readonly party: Party; readonly snap: () => void }>
  close(): Promise<void>
}

export interface Traits {
  readonly kind: LinkKind
  /** Nothing is lost and nothing overtakes while the link lives. */
  readonly reliable: boolean
  readonly datagramMin: number
  /** Of every link; absent where it is a whole record of TCP or a datagram of UDP, which nobody who reads the link's info exceeds. */
  readonly datagramMax?: number
  /** Of connections: reading can be paused; a close delivers what is queued. The simulated twins leave out what is absent. */
  readonly pauses?: true
  readonly lingers?: true
}

/** Every rule of {@link Driver} and its host that does not depend on the medium (STYLE.md 28). */
export function describeTransport(name: string, traits: Traits, open: () => Medium): void {
  describe(`${name}, as every transport`, () => {
    let medium: Medium | undefined
    const start = (): Medium => (medium = open())
    afterEach(async () => {
      await medium?.close()
      medium = undefined
    })

    describe('opening', () => {
      it('says what the link is, and lists it', async () => {
        const { a, b } = await start().pair()
        for (const { host, driver, link } of [a, b]) {
          expect(driver.kind).toBe(traits.kind)
          const info = host.opens[link - 1]!
          expect(info).toMatchObject({ kind: traits.kind })
          expect(info.local).toHaveLength(ADDRESS_SIZE)
          expect(info.datagramMax).toBeGreaterThanOrEqual(1200)
          expect(info.segmentsMax).toBeGreaterThanOrEqual(1)
          expect(driver.links().find(({ id }) => id === link)).toMatchObject({ id: link, info, unsent: 0 })
          expect(host.changes).toEqual([])
        }
      })

      it('start may be called again, and changes nothing', async () => {
        const { a } = await start().pair()
        await Promise.all([a.driver.start(), a.driver.start()])
        expect(a.host.opens).toHaveLength(1)
      })
    })

    describe('datagrams', () => {
      it('bursts both ways at once: whole, from the right link and address, once', async () => {
        const { a, b } = await start().pair()
        const ends = [new Stream(a, b, traits, 1), new Stream(b, a, traits, 2)]
        while (ends.some((end) => end.sent < 2_000)) {
          for (const end of ends) end.burst()
          await until(() => ends.every((end) => end.settled()))
        }
        for (const end of ends) end.check()
      })

      it('the smallest and the largest, alone and as segments', async () => {
        const { a, b } = await start().pair()
        const { datagramMax } = a.host.opens[a.link - 1]!
        for (const size of [traits.datagramMin, traits.datagramMin + 1, datagramMax - 1, datagramMax]) {
          const { count } = b.host
          add(a, pattern(size, size))
          expect(await send(a)).toBe(1)
          await until(() => b.host.count === count + 1)
          expect(b.host.received_.at(-1)!.bytes).toEqual(pattern(size, size))
        }
        const { count } = b.host
        const bytes = pattern(63 * 1181 + traits.datagramMin, 1)
        add(a, bytes, 1181)
        await send(a)
        await until(() => b.host.count === count + 64)
        expect(Buffer.concat(b.host.received_.slice(count).map((received) => received.bytes)).equals(bytes)).toBe(true)
      })

      it.runIf(traits.datagramMax !== undefined && traits.pauses)('one that is longer than the link takes is lost alone: those before and after it arrive', async () => {
        const { a, b } = await start().pair()
        const { datagramMax } = a.host.opens[a.link - 1]!
        add(a, pattern(200, 1))
        add(a, pattern(datagramMax + 1, 2))
        add(a, pattern(300, 3))
        await send(a)
        add(a, pattern(400, 4))
        await send(a)
        await until(() => b.host.count === 3)
        expect(b.host.received_.map(({ bytes }) => bytes)).toEqual([pattern(200, 1), pattern(300, 3), pattern(400, 4)])
        expect(a.driver.links()).toHaveLength(1)
        expect(a.driver.stats()).toMatchObject({ [`${traits.kind}_overflow_datagrams`]: 1, [`${traits.kind}_sent_datagrams`]: 3 })
      })

      it('rows of links that it does not have are left to others', async () => {
        const { a, b } = await start().pair()
        add(a, pattern(100, 1), 100, 999 as LinkId)
        add(a, pattern(100, 2))
        add(a, pattern(100, 3), 100, 0 as LinkId)
        expect(await send(a)).toBe(1)
        await until(() => b.host.count === 1)
        expect(b.host.received_[0]!.bytes).toEqual(pattern(100, 2))
        expect(await send(a)).toBe(0)
      })
    })

    describe('ownership', () => {
      it('after done the slab is the host\'s again: what it writes there reaches nobody', async () => {
        const { a, b } = await start().pair()
        for (let round = 0; round < 20; round++) {
          const { count } = b.host
          for (let i = 0; i < 20; i++) add(a, pattern(500 + i, round + i))
          await send(a)
          a.host.arena.bytes.fill(0xff, a.slab, a.slab + PARTY_SLAB)
          await until(() => b.host.count === count + 20)
          const received = b.host.received_.slice(count).map(({ bytes }) => Buffer.from(bytes).toString('latin1')).sort()
          expect(received).toEqual(Array.from({ length: 20 }, (_, i) => Buffer.from(pattern(500 + i, round + i)).toString('latin1')).sort())
        }
      })

      it('the host may overwrite what it received, during the call', async () => {
        const { a, b } = await start().pair()
        b.host.onReceived = (batch) => {
          for (let row = 0; row < batch.count; row++) b.host.arena.bytes.fill(0xaa, batch.offset[row], batch.offset[row]! + batch.length[row]!)
        }
        for (let round = 0; round < 20; round++) {
          const { count } = b.host
          for (let i = 0; i < 10; i++) add(a, pattern(700, 10 * round + i))
          await send(a)
          await until(() => b.host.count === count + 10)
        }
        const seen = b.host.received_.map(({ bytes }) => Buffer.from(bytes).toString('latin1'))
        expect(seen.sort()).toEqual(Array.from({ length: 200 }, (_, i) => Buffer.from(pattern(700, i)).toString('latin1')).sort())
      })

      it('receives into the arena, and gives its slab back when it closes', async () => {
        const { a } = await start().pair()
        const { used } = a.host.arena
        await a.driver.close()
        expect(a.host.arena.used).toBeLessThan(used)
      })
    })

    describe('done', () => {
      it('once for each call, later, with rows or without, while it is open and afterwards', async () => {
        const { a, b } = await start().pair()
        const done: number[] = []
        const hand = (number: number): void => {
          a.host.inCall = true
          a.driver.send(a.batch, () => done.push(number))
          a.host.inCall = false
          a.batch.reset(a.slab, PARTY_SLAB)
        }
        add(a, pattern(300, 1))
        hand(0)
        hand(1)
        add(a, pattern(300, 1), 300, 999 as LinkId)
        hand(2)
        expect(done).toEqual([])
        await Promise.resolve()
        expect(done).toEqual([])
        await until(() => done.length === 3)
        add(a, pattern(300, 2))
        hand(3)
        const closing = a.driver.close()
        add(a, pattern(300, 3))
        hand(4)
        await closing
        hand(5)
        await until(() => done.length === 6)
        for (let i = 0; i < 5; i++) await turn()
        expect([...done].sort((x, y) => x - y)).toEqual([0, 1, 2, 3, 4, 5])
        expect(b.host.count).toBeLessThanOrEqual(2)
      })

      it('may send again from itself, and timers still run', async () => {
        const { a, b } = await start().pair()
        b.host.keep = false
        let rounds = 0
        let running = true
        const again = (): void => {
          rounds++
          if (!running) return
          a.batch.reset(a.slab, PARTY_SLAB)
          add(a, pattern(200, rounds))
          a.driver.send(a.batch, again)
        }
        again()
        try {
          // That a timer fires at all while sends follow sends is what is asked; how many fit in its time is the machine's affair.
          while (rounds <= 5) await new Promise((resolve) => setTimeout(resolve, 20))
        } finally {
          running = false
        }
        await turn()
        await turn()
      })
    })

    describe('backpressure', () => {
      it('blocked once when the medium takes nothing, more is taken all the same, writable once when it does', async () => {
        const { party, bytes, release } = await start().stalled()
        const states = (): string[] => party.host.changes.map(({ state }) => state)
        let [handed, done, calls] = [0, 0, 0]
        const hand = (): void => {
          add(party, pattern(16 * 1000, calls), 1000)
          party.host.inCall = true
          expect(party.driver.send(party.batch, () => done++)).toBe(1)
          party.host.inCall = false
          party.batch.reset(party.slab, PARTY_SLAB)
          calls++
          handed += 16_000
        }
        while (states().length === 0 && handed <= bytes) {
          hand()
          await turn()
        }
        expect(states()).toEqual(['blocked'])
        const { unsent } = party.driver.links().find(({ id }) => id === party.link)!
        expect(unsent).toBeGreaterThan(0)
        hand()
        await turn()
        expect(states()).toEqual(['blocked'])
        release()
        await until(() => states().length === 2)
        expect(states()).toEqual(['blocked', 'writable'])
        await until(() => done === calls && party.driver.links()[0]!.unsent === 0)
        expect(states()).toEqual(['blocked', 'writable'])
      })

      it('a close while it is blocked calls every done and says closed, once', async () => {
        const { party, bytes } = await start().stalled()
        let [handed, done, calls] = [0, 0, 0]
        while (party.host.changes.length === 0 && handed <= bytes) {
          add(party, pattern(16 * 1000, calls), 1000)
          party.driver.send(party.batch, () => done++)
          party.batch.reset(party.slab, PARTY_SLAB)
          calls++
          handed += 16_000
          await turn()
        }
        await medium!.close()
        expect(done).toBe(calls)
        expect(party.host.changes.map(({ state }) => state)).toEqual(['blocked', 'closed'])
      })
    })

    describe.runIf(traits.reliable)('connections', () => {
      it.runIf(traits.pauses)('one that is not read makes the other side wait, and loses and changes nothing', async () => {
        const { a, b } = await start().pair()
        const driver = a.driver as ConnectionDriver
        const states = (): string[] => b.host.changes.map(({ state }) => state).filter((state, i, all) => state !== 'writable' || all[i - 1] === 'blocked')
        driver.pause(a.link)
        await turn()
        let number = 0
        while (!states().includes('blocked') && number < 30_000) {
          for (let i = 0; i < 16; i++) add(b, pattern(1000, number++))
          await send(b)
          await turn()
        }
        expect(states()).toEqual(['blocked'])
        const { count } = a.host
        expect(count).toBeLessThan(number)
        driver.resume(a.link)
        await until(() => a.host.count === number, 60_000)
        expect(a.host.received_.findIndex(({ bytes }, i) => Buffer.compare(bytes, pattern(1000, i)) !== 0)).toBe(-1)
        await until(() => states().includes('writable'))
        expect(states()).toEqual(['blocked', 'writable'])
      })

      it.runIf(traits.lingers)('closed, one delivers what it has, and both sides hear of it once', async () => {
        const { a, b } = await start().pair()
        for (let i = 0; i < 20; i++) add(a, pattern(900, i))
        const sent = send(a)
        ;(a.driver as ConnectionDriver).closeLink(a.link)
        await sent
        await until(() => b.host.changes.some(({ state }) => state === 'closed') && a.driver.links().length === 0)
        expect(b.host.received_.map(({ bytes }, i) => Buffer.compare(bytes, pattern(900, i)))).toEqual(new Array<number>(20).fill(0))
        add(a, pattern(100, 1))
        expect(await send(a)).toBe(0)
        for (const { host } of [a, b]) expect(host.changes.map(({ state }) => state).filter((state) => state !== 'writable')).toEqual(['closed'])
      })
    })

    describe('closing', () => {
      it('says closed of each link once, and nothing more, however often it is called', async () => {
        const { a } = await start().pair()
        a.host.inCall = true
        const closing = [a.driver.close(), a.driver.close()]
        a.host.inCall = false
        await Promise.all(closing)
        await a.driver.close()
        expect(a.host.changes).toEqual([{ link: a.link, state: 'closed', cause: undefined }])
        expect(a.driver.links()).toEqual([])
        add(a, pattern(100, 1))
        expect(await send(a)).toBe(0)
        const { count } = a.host
        await turn()
        expect(a.host.count).toBe(count)
        expect(a.host.changes).toHaveLength(1)
      })

      it('from inside received: nothing more is received', async () => {
        const { a, b } = await start().pair()
        let closing: Promise<void> | undefined
        b.host.onReceived = () => void (closing ??= b.driver.close())
        for (let i = 0; i < 40; i++) add(a, pattern(1000, i))
        await send(a)
        await until(() => closing !== undefined)
        const batches = b.host.batchCounts.length
        await closing
        expect(b.host.batchCounts).toHaveLength(batches)
        expect(b.host.changes.map(({ state }) => state)).toEqual(['closed'])
      })

      it('opens again', async () => {
        const { a } = await start().pair()
        await a.driver.close()
        await a.driver.start()
        await a.driver.close()
        expect(a.driver.links()).toEqual([])
      })
    })

    describe('failing', () => {
      it('says failed once, with a code and a sentence, and takes no more rows', async () => {
        const { party, snap } = await start().fragile()
        let done = 0
        add(party, pattern(100, 1))
        party.driver.send(party.batch, () => done++)
        snap()
        const failures = (): typeof party.host.changes => party.host.changes.filter(({ state }) => state !== 'writable')
        await until(() => failures().length > 0)
        const { link, state, cause } = party.host.changes.at(-1)!
        expect([failures().length, link, state]).toEqual([1, party.link, 'failed'])
        expect(cause).toBeInstanceOf(PosternError)
        expect(cause!.code).toMatch(/^[a-z_]+$/)
        expect(cause!.message).toMatch(/^[A-Z].*\.$/)
        expect(party.driver.links().some(({ id }) => id === party.link)).toBe(false)
        expect(party.driver.send(party.batch, () => done++)).toBe(0)
        await until(() => done === 2)
        for (let i = 0; i < 5; i++) await turn()
        await party.driver.close()
        expect(failures()).toHaveLength(1)
        expect(party.host.changes.at(-1)!.state).toBe('failed')
      })
    })

    it('counts what it does, by names that begin with its kind', async () => {
      const { a, b } = await start().pair()
      add(a, pattern(10 * 100, 1), 100)
      await send(a)
      await until(() => b.host.count === 10)
      const names = Object.keys(a.driver.stats())
      expect(names.every((counter) => counter.startsWith(`${traits.kind}_`))).toBe(true)
      expect(a.driver.stats()).toMatchObject({ [`${traits.kind}_sent_datagrams`]: 10, [`${traits.kind}_sent_bytes`]: 1000 })
      expect(b.driver.stats()).toMatchObject({ [`${traits.kind}_received_datagrams`]: 10, [`${traits.kind}_received_bytes`]: 1000 })
    })
  })
}

/** Bytes that say where they belong. */
function pattern(length: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(length)
  for (let i = 0; i < length; i++) bytes[i] = (seed * 31 + i * 7 + (seed >>> 3) + (i >>> 8)) & 0xff
  return bytes
}

/** Appends a burst to a party's batch: `bytes` cut into pieces of `segmentSize`. */
function add(party: Party, bytes: Uint8Array, segmentSize: number = bytes.length, link: LinkId = party.link): void {
  const { batch } = party
  const row = batch.count++
  batch.link[row] = link
  batch.address.set(party.to, row * ADDRESS_SIZE)
  batch.offset[row] = batch.base + batch.used
  batch.length[row] = bytes.length
  batch.segmentSize[row] = segmentSize
  batch.ttl[row] = 0
  party.host.arena.bytes.set(bytes, batch.base + batch.used)
  batch.used += bytes.length
}

/** Hands the batch over and resolves, with the rows taken, when it is done. */
async function send(party: Party): Promise<number> {
  let taken = 0
  await new Promise<void>((resolve) => {
    party.host.inCall = true
    taken = party.driver.send(party.batch, resolve)
    party.host.inCall = false
  })
  party.batch.reset(party.slab, PARTY_SLAB)
  return taken
}

/** Numbered datagrams of random sizes in one direction, as many on their way as any receive buffer holds. */
class Stream {
  sent = 0
  readonly #from: Party
  readonly #to: Party
  readonly #traits: Traits
  /** Room for the number. */
  readonly #min: number
  readonly #before: number
  readonly #sizes: number[] = []
  #state: number
  #done = 0
  #calls = 0

  constructor(from: Party, to: Party, traits: Traits, seed: number) {
    this.#from = from
    this.#to = to
    this.#traits = traits
    this.#min = Math.max(2, traits.datagramMin)
    this.#before = to.host.count
    this.#state = seed
  }

  burst(): void {
    const rows = 1 + this.#random(8)
    for (let i = 0; i < rows; i++) {
      const segmentSize = this.#min + this.#random(Math.min(1400, (this.#traits.datagramMax ?? Infinity) - this.#min + 1))
      const segments = 1 + this.#random(Math.max(1, Math.min(8, Math.floor(8000 / segmentSize))))
      const last = this.#min + this.#random(segmentSize - this.#min + 1)
      const sizes = [...new Array<number>(segments - 1).fill(segmentSize), last]
      const bytes = new Uint8Array(sizes.reduce((sum, size) => sum + size, 0))
      let at = 0
      for (const size of sizes) {
        bytes.set(this.#content(this.sent, size), at)
        this.#sizes.push(size)
        this.sent++
        at += size
      }
      add(this.#from, bytes, segmentSize)
    }
    this.#calls++
    expect(this.#from.driver.send(this.#from.batch, () => this.#done++)).toBe(rows)
    // The next burst waits for `settled`: until then the slab is the driver's.
  }

  settled(): boolean {
    if (this.#done < this.#calls || this.#to.host.count - this.#before < this.sent) return false
    this.#from.batch.reset(this.#from.slab, PARTY_SLAB)
    return true
  }

  check(): void {
    const received = this.#to.host.received_.slice(this.#before)
    const numbers = received.map(({ bytes }) => bytes[0]! | (bytes[1]! << 8))
    const inOrder = Array.from({ length: this.sent }, (_, number) => number)
    expect(this.#traits.reliable ? numbers : [...numbers].sort((x, y) => x - y)).toEqual(inOrder)
    const from = this.#to.host.received_[this.#before]!.from
    for (const [i, { link, bytes, from: source }] of received.entries()) {
      const number = numbers[i]!
      if (link !== this.#to.link || source !== from || Buffer.compare(bytes, this.#content(number, this.#sizes[number]!)) !== 0) throw new Error(`datagram ${number} is not what was sent`)
    }
    expect(equalAddress(this.#to.to, 0, this.#from.to, 0)).toBe(false)
  }

  #content(number: number, size: number): Uint8Array {
    const bytes = pattern(size, number)
    bytes[0] = number & 0xff
    bytes[1] = number >>> 8
    return bytes
  }

  #random(below: number): number {
    this.#state = (Math.imul(this.#state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor((this.#state / 2 ** 32) * below)
  }
}
