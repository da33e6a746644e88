import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { dropReason } from '../../../src/core/base/domain.ts'
import type { MemoryAccount } from '../../../src/core/base/memory-account.ts'
import { never, toInstant } from '../../../src/core/base/time.ts'
import type { Receiver } from '../../../src/core/flow/receive.ts'
import { LatestReceiver } from '../../../src/core/flow/receive-latest.ts'
import { OrderedReceiver } from '../../../src/core/flow/receive-ordered.ts'
import { UnorderedReceiver } from '../../../src/core/flow/receive-unordered.ts'
import { UnreliableReceiver } from '../../../src/core/flow/receive-unreliable.ts'
import type { SendTraits } from '../../../src/core/flow/send-queue.ts'
import { ChannelModel } from './delivery-model.ts'

const CREDIT = 4000

interface Mode {
  readonly traits: SendTraits
  readonly receiver: (memory: MemoryAccount) => Receiver
}

const ordered: Mode = { traits: { repeats: true, charged: true, latest: false }, receiver: (memory) => new OrderedReceiver(memory, CREDIT, 2 << 20) }
const unordered: Mode = { traits: { repeats: true, charged: true, latest: false }, receiver: (memory) => new UnorderedReceiver(memory, CREDIT) }
const unreliable: Mode = { traits: { repeats: false, charged: false, latest: false }, receiver: (memory) => new UnreliableReceiver(memory, CREDIT) }
const latest: Mode = { traits: { repeats: true, charged: false, latest: true }, receiver: (memory) => new LatestReceiver(memory, CREDIT) }
const modes = { ordered, unordered, unreliable, latest }

type Step =
  | { readonly kind: 'push'; readonly length: number; readonly confirm: boolean; readonly ttl: number | undefined }
  | { readonly kind: 'pack'; readonly allowance: number }
  | { readonly kind: 'acknowledge' | 'expire' | 'drop-oldest' }
  | { readonly kind: 'arrive' | 'lose'; readonly which: number }
  | { readonly kind: 'consume'; readonly credit: number }
  | { readonly kind: 'wait'; readonly time: number }

function steps(options: { readonly deadlines: boolean; readonly drops: boolean }): fc.Arbitrary<readonly Step[]> {
  const length = fc.oneof({ weight: 4, arbitrary: fc.integer({ min: 8, max: 80 }) }, { weight: 2, arbitrary: fc.integer({ min: 150, max: 900 }) })
  const ttl = options.deadlines ? fc.option(fc.integer({ min: 1, max: 60 }), { nil: undefined }) : fc.constant(undefined)
  const step: fc.Arbitrary<Step> = fc.oneof(
    { weight: 5, arbitrary: fc.record({ kind: fc.constant('push' as const), length, confirm: fc.boolean(), ttl }) },
    { weight: 5, arbitrary: fc.record({ kind: fc.constant('pack' as const), allowance: fc.constantFrom(0, 60, Infinity) }) },
    { weight: 5, arbitrary: fc.record({ kind: fc.constant('arrive' as const), which: fc.nat(20) }) },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant('lose' as const), which: fc.nat(20) }) },
    { weight: 2, arbitrary: fc.constant({ kind: 'acknowledge' as const }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('consume' as const), credit: fc.nat(2000) }) },
    { weight: options.deadlines ? 2 : 0, arbitrary: fc.record({ kind: fc.constant('wait' as const), time: fc.nat(30) }) },
    { weight: options.deadlines ? 1 : 0, arbitrary: fc.constant({ kind: 'expire' as const }) },
    { weight: options.drops ? 2 : 0, arbitrary: fc.constant({ kind: 'drop-oldest' as const }) },
  )
  return fc.array(step, { maxLength: 200 })
}

interface Pushed {
  readonly tag: number
  readonly confirm: boolean
  readonly deadline: number
}

function play(mode: Mode, script: readonly Step[]): { readonly model: ChannelModel; readonly pushed: readonly Pushed[] } {
  const model = new ChannelModel(mode.traits, mode.receiver)
  const pushed: Pushed[] = []
  for (const step of script) {
    const which = 'which' in step && model.flying.length > 0 ? step.which % model.flying.length : -1
    switch (step.kind) {
      case 'push': {
        const deadline = step.ttl === undefined ? never : toInstant(model.now + step.ttl)
        pushed.push({ tag: model.push(step.length, step.confirm, deadline), confirm: step.confirm, deadline })
        if (mode.traits.latest) model.queue.supersede()
        break
      }
      case 'pack':
        model.pack(step.allowance)
        break
      case 'arrive':
        if (which >= 0) model.arrive(which)
        break
      case 'lose':
        if (which >= 0) model.lose(which)
        break
      case 'acknowledge':
        model.acknowledge()
        break
      case 'consume':
        model.consume(step.credit)
        break
      case 'wait':
        model.now = toInstant(model.now + step.time)
        break
      case 'expire':
        model.queue.expire(model.now)
        break
      case 'drop-oldest':
        if (model.queue.unsent > 0) model.dropOldest()
    }
  }
  model.acknowledge()
  model.settle()
  return { model, pushed }
}

function tagsOf(model: ChannelModel): readonly number[] {
  return model.received.map(({ tag }) => tag)
}

/** Fates are told once at most; what was delivered is not said to be dropped before it left, and the other way round. */
function expectFates(model: ChannelModel, pushed: readonly Pushed[]): void {
  for (const { tag, confirm } of pushed) {
    const fates = model.fates.get(tag) ?? []
    expect(fates.length, `notices of ${tag}`).toBeLessThanOrEqual(1)
    if (confirm) expect(fates.length, `notices of ${tag}, to be confirmed`).toBe(1)
    else expect(fates, `notices of ${tag}`).not.toContain('delivered')
  }
}

/** Nothing is left of the messages: queue, receiver and arena are empty. */
function expectEmpty(model: ChannelModel): void {
  expect([model.queue.messages, model.queue.bytes, model.queue.unsent, model.queue.hasLost, model.queue.hasNew]).toEqual([0, 0, 0, false, false])
  expect(model.receiver.finished(model.count.nextId)).toBe(true)
  model.queue.trim()
  model.receiver.clear()
  model.receiver.trim()
  expect([model.memory.used, model.memory.unbounded]).toEqual([0, 0])
}

describe('over a network that loses, doubles and reorders', () => {
  it('reliable-ordered: every message once, in order', () => {
    fc.assert(fc.property(steps({ deadlines: false, drops: false }), (script) => {
      const { model, pushed } = play(ordered, script)
      expect(tagsOf(model)).toEqual(pushed.map(({ tag }) => tag))
      expectFates(model, pushed)
      expectEmpty(model)
    }), { numRuns: 150 })
  })

  it('reliable-unordered: every message once', () => {
    fc.assert(fc.property(steps({ deadlines: false, drops: false }), (script) => {
      const { model, pushed } = play(unordered, script)
      expect([...tagsOf(model)].sort((a, b) => a - b)).toEqual(pushed.map(({ tag }) => tag))
      expectFates(model, pushed)
      expectEmpty(model)
    }), { numRuns: 150 })
  })

  it('latest: rising values, and the newest one last', () => {
    fc.assert(fc.property(steps({ deadlines: false, drops: false }), (script) => {
      const { model, pushed } = play(latest, script)
      const tags = tagsOf(model)
      expect(tags).toEqual([...new Set(tags)].sort((a, b) => a - b))
      expect(tags.at(-1)).toBe(pushed.at(-1)?.tag)
      expectFates(model, pushed)
      expectEmpty(model)
    }), { numRuns: 250 })
  })

  it('unreliable: whole messages, those confirmed with one verdict', () => {
    fc.assert(fc.property(steps({ deadlines: true, drops: true }), (script) => {
      const { model, pushed } = play(unreliable, script)
      expect(tagsOf(model)).not.toContain(-1)
      expectFates(model, pushed)
      model.receiver.clear()
      model.queue.trim()
      expect([model.queue.messages, model.queue.bytes, model.memory.used]).toEqual([0, 0, 0])
    }), { numRuns: 150 })
  })

  it.each(['ordered', 'unordered', 'latest'] as const)('%s with deadlines and drops: every message is delivered or named in one notice', (name) => {
    fc.assert(fc.property(steps({ deadlines: true, drops: true }), (script) => {
      const { model, pushed } = play(modes[name], script)
      const tags = tagsOf(model)
      const seen = new Set(tags)
      expect(seen.size, 'no message twice').toBe(tags.length)
      expect(tags, 'whole messages').not.toContain(-1)
      if (name !== 'unordered') expect(tags).toEqual([...tags].sort((a, b) => a - b))
      expectFates(model, pushed)
      for (const { tag, confirm, deadline } of pushed) {
        const [fate] = model.fates.get(tag) ?? []
        if (fate === 'delivered' && name !== 'latest') expect(seen.has(tag), `${tag} was delivered`).toBe(true)
        if (fate === dropReason['drop-oldest']) expect(seen.has(tag), `${tag} was dropped before it was sent`).toBe(false)
        if (fate === dropReason.deadline) expect(deadline).toBeLessThanOrEqual(model.now)
        if (fate === undefined && !confirm && name !== 'latest') expect(seen.has(tag), `${tag} was not dropped`).toBe(true)
      }
      expectEmpty(model)
    }), { numRuns: 250 })
  })
})

describe('deadlines', () => {
  it('drop what is unsent without an id, and make SKIP of what was begun', () => {
    const model = new ChannelModel(ordered.traits, ordered.receiver)
    const begun = model.push(600, true, toInstant(10))
    const unsent = model.push(20, true, toInstant(10))
    const after = model.push(20, true)
    model.pack()
    expect(model.count.nextId).toBe(1)
    model.now = toInstant(10)
    model.settle()
    expect([model.fates.get(begun), model.fates.get(unsent), model.fates.get(after)]).toEqual([[dropReason.deadline], [dropReason.deadline], ['delivered']])
    expect(model.count.nextId, 'the unsent one cost no id').toBe(2)
    expect(tagsOf(model)).toEqual([after])
    // What was charged for the one that was skipped counts as passed.
    expect(model.receiver.takePassed()).toBe(600 + 32)
  })

  it('cancel what would be sent again, and leave alone what is only on its way', () => {
    const model = new ChannelModel(ordered.traits, ordered.receiver)
    const lost = model.push(20, true, toInstant(10))
    model.pack()
    const flying = model.push(20, true, toInstant(10))
    model.pack()
    model.lose(0)
    model.now = toInstant(11)
    expect(model.queue.expire(model.now)).toBe(Infinity)
    expect([model.fates.get(lost), model.fates.get(flying)]).toEqual([[dropReason.deadline], undefined])
    model.settle()
    expect(model.fates.get(flying)).toEqual(['delivered'])
    expect(tagsOf(model)).toEqual([flying])
  })

  it('say when the next look is due', () => {
    const model = new ChannelModel(ordered.traits, ordered.receiver)
    model.push(20, true, toInstant(30))
    model.push(20, true, toInstant(10))
    model.push(20, true)
    expect(model.queue.expire(toInstant(0))).toBe(10)
    expect(model.queue.expire(toInstant(10))).toBe(30)
    expect(model.queue.expire(toInstant(30))).toBe(Infinity)
    expect(model.queue.messages).toBe(1)
  })
})

describe('the ring of a queue', () => {
  it('does not grow while the oldest unsent message is dropped for every new one', () => {
    const model = new ChannelModel(ordered.traits, ordered.receiver)
    model.push(20, false)
    model.pack()
    for (let n = 0; n < 10_000; n++) {
      model.push(20, false)
      if (model.queue.unsent > 5) model.queue.dropOldest(dropReason['drop-oldest'])
    }
    expect(model.queue.head - model.queue.base).toBeLessThanOrEqual(16)
    model.settle()
    expect(tagsOf(model)).toEqual([1, 9997, 9998, 9999, 10_000, 10_001])
  })
})

describe('a message that was pulled up, and finds no credit', () => {
  it('is the oldest still', () => {
    const model = new ChannelModel(ordered.traits, ordered.receiver)
    const tags = Array.from({ length: 4 }, () => model.push(20, false))
    model.dropOldest()
    model.pack(0)
    model.dropOldest()
    expect([...model.fates.keys()]).toEqual(tags.slice(0, 2))
  })

  it('is not lost when holes are closed', () => {
    const model = new ChannelModel(ordered.traits, ordered.receiver)
    for (let n = 0; n < 16; n++) model.push(20, false)
    for (let n = 0; n < 12; n++) model.dropOldest()
    model.pack(0)
    model.push(20, false)
    model.settle()
    expect(tagsOf(model)).toEqual([13, 14, 15, 16, 17])
  })
})

describe('the window of ids of reliable-unordered', () => {
  it('a sender stays within 4096 of its oldest unacknowledged message', () => {
    const model = new ChannelModel(unordered.traits, unordered.receiver)
    model.receiver.credit = 1 << 30
    for (let n = 0; n < 5000; n++) model.push(8, false)
    model.pack()
    const inFirst = model.count.nextId
    while (model.pack()) {
      // Everything but the first datagram arrives.
      model.arrive(1)
      model.acknowledge()
    }
    expect(model.count.nextId).toBe(4096)
    expect(model.received.length).toBe(4096 - inFirst)
    model.settle()
    expect(new Set(tagsOf(model)).size).toBe(5000)
  })
})
