/** What a peer may say while two people compare a code, and what it may not: somebody in between is found out, or has one try. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { acceptPairing, onPairFrame } from '../../../../src/core/connection/pairing/pairing.ts'
import { PairingExchange } from '../../../../src/core/connection/pairing/pairing-exchange.ts'
import type { ConnectionHost } from '../../../../src/core/connection/host.ts'
import type { SessionState } from '../../../../src/core/connection/state.ts'
import { pairCode, pairCommit } from '../../../../src/core/session/pairing.ts'
import { pairOps, type PairOp } from '../../../../src/core/wire/pair-frame.ts'
import { repeated } from '../../../support/bytes.ts'
import { providers } from '../../../support/providers.ts'

const provider = providers[0]![1]
const H = repeated(0x48)

/** One side of an exchange, without a session around it. */
class Side {
  readonly codes: string[] = []
  readonly failures: string[] = []
  readonly counted: string[] = []
  done = 0
  readonly pairing: PairingExchange
  readonly #state: SessionState

  constructor(initiator: boolean, nonce: number, h: Uint8Array = H) {
    const host = {
      provider, counters: { add: (name: string) => this.counted.push(name) }, paired: () => this.done++,
      emit: (event: { readonly kind: string; readonly code: string }) => this.codes.push(event.code),
    } as unknown as ConnectionHost
    this.pairing = new PairingExchange(() => repeated(nonce, 16), h.slice(), initiator)
    this.#state = { host, pairing: this.pairing, peer: 1, fail: (code: number, _type: number, reason: string) => this.failures.push(`${code} ${reason}`) } as unknown as SessionState
  }

  hear(op: PairOp, data: Uint8Array = new Uint8Array(0)): void {
    onPairFrame(this.#state, op, data)
  }

  accept(): boolean {
    return acceptPairing(this.#state)
  }

  wants(): PairOp[] {
    return pairOps.filter((_, number) => (this.pairing.wanted >> number & 1) === 1)
  }
}

function compared(): { readonly i: Side; readonly r: Side } {
  const [i, r] = [new Side(true, 1), new Side(false, 2)]
  i.hear('commit', pairCommit(provider, H, repeated(2, 16)))
  r.hear('nonce', repeated(1, 16))
  i.hear('reveal', repeated(2, 16))
  return { i, r }
}

describe('an exchange', () => {
  it('shows both the same, and is done when both accept', () => {
    const { i, r } = compared()
    expect(i.codes).toHaveLength(1)
    expect(i.codes).toEqual(r.codes)
    expect([i.wants(), r.wants()]).toEqual([['nonce'], ['commit', 'reveal']])
    expect(i.accept()).toBe(true)
    expect([i.done, r.done]).toEqual([0, 0])
    r.hear('accept')
    expect(r.done).toBe(0)
    expect(r.accept()).toBe(true)
    i.hear('accept')
    expect([i.done, r.done]).toEqual([1, 1])
    expect([...i.failures, ...r.failures]).toEqual([])
  })

  it('bears every step twice', () => {
    const { i, r } = compared()
    i.hear('commit', pairCommit(provider, H, repeated(2, 16)))
    r.hear('nonce', repeated(1, 16))
    i.hear('reveal', repeated(2, 16))
    expect([i.codes.length, r.codes.length, ...i.failures, ...r.failures]).toEqual([1, 1])
  })

  it('takes a yes that overtakes the reveal, and waits for the digits and the own one', () => {
    const i = new Side(true, 1)
    i.hear('commit', pairCommit(provider, H, repeated(2, 16)))
    i.hear('accept')
    expect([i.done, i.accept(), ...i.failures]).toEqual([0, false])
    i.hear('reveal', repeated(2, 16))
    expect([i.done, i.accept(), i.done]).toEqual([0, true, 1])
  })

  it('shows others to each side of somebody in between', () => {
    const [i, r] = [new Side(true, 1, repeated(0x11)), new Side(false, 2, repeated(0x22))]
    // He must commit to i before he has seen its nonce, and answer r before he has seen r's.
    i.hear('commit', pairCommit(provider, repeated(0x11), repeated(7, 16)))
    r.hear('nonce', repeated(8, 16))
    i.hear('reveal', repeated(7, 16))
    expect(i.codes).not.toEqual(r.codes)
  })

  it('ends at a nonce that was not committed to', () => {
    const i = new Side(true, 1)
    i.hear('commit', pairCommit(provider, H, repeated(2, 16)))
    i.hear('reveal', repeated(3, 16))
    expect([i.codes, i.failures.length, i.counted]).toEqual([[], 1, ['pairings_forged']])
  })

  it.each<[string, boolean, readonly PairOp[]]>([
    ['a nonce to who committed to nothing', true, ['nonce']],
    ['a commitment to who committed', false, ['commit']],
    ['a reveal before any commitment', true, ['reveal']],
    ['a reveal to the responder', false, ['reveal']],
    ['a yes before there is a code', true, ['accept']],
    ['a yes before there is a code, to the responder', false, ['accept']],
    ['a second nonce', false, ['nonce', 'nonce']],
    ['a second commitment', true, ['commit', 'commit']],
  ])('ends at %s', (_what, initiator, ops) => {
    const side = new Side(initiator, 1)
    ops.forEach((op, i) => { side.hear(op, repeated(10 + i, op === 'commit' ? 32 : 16)) })
    expect(side.failures).toHaveLength(1)
    expect(side.done).toBe(0)
  })

  it('is not accepted before there is a code', () => {
    const side = new Side(true, 1)
    expect(side.accept()).toBe(false)
    side.hear('reject')
    expect(side.failures).toHaveLength(1)
  })
})

describe('any steps', () => {
  const right: Readonly<Record<PairOp, Uint8Array>> = { commit: pairCommit(provider, H, repeated(2, 16)), nonce: repeated(1, 16), reveal: repeated(2, 16), accept: new Uint8Array(0), reject: new Uint8Array(0) }

  it('repeated, reordered, left out or made up: our nonce is shown after the commitment, a code once, and two yes are needed', () => {
    const step = fc.oneof(
      { weight: 6, arbitrary: fc.constantFrom(...pairOps.slice(0, 4)).map((op) => ({ op, data: right[op] })) },
      { weight: 1, arbitrary: fc.constantFrom(...pairOps).chain((op) => fc.uint8Array({ minLength: right[op].length, maxLength: right[op].length }).map((data) => ({ op, data }))) },
      { weight: 2, arbitrary: fc.constant('yes' as const) },
    )
    fc.assert(fc.property(fc.boolean(), fc.array(step, { maxLength: 16 }), (initiator, steps) => {
      const side = new Side(initiator, initiator ? 1 : 2)
      const heard: { readonly op: PairOp; readonly data: Uint8Array }[] = []
      let said = false
      for (const one of steps) {
        // The session is over with the first failure: nothing more comes in.
        if (side.failures.length > 0) break
        if (one === 'yes') said = side.accept() || said
        else {
          heard.push(one)
          side.hear(one.op, one.data)
        }
        const first = (op: PairOp): Uint8Array | undefined => heard.find((entry) => entry.op === op)?.data
        if (initiator && side.wants().includes('nonce')) expect(first('commit')).toBeDefined()
        if (!initiator && side.wants().includes('reveal')) expect(first('nonce')).toBeDefined()
        expect(side.codes.length).toBeLessThanOrEqual(1)
        const theirs = first(initiator ? 'reveal' : 'nonce')
        if (side.codes.length === 1) expect(side.codes[0]).toBe(initiator ? pairCode(provider, H, repeated(1, 16), theirs!) : pairCode(provider, H, theirs!, repeated(2, 16)))
        if (initiator && side.codes.length === 1) expect(first('commit')).toEqual(pairCommit(provider, H, theirs!))
        if (said) expect(side.codes).toHaveLength(1)
        if (side.done > 0) expect([said, first('accept') !== undefined]).toEqual([true, true])
      }
    }), { numRuns: 2000 })
  })
})
