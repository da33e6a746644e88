import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { TopicQueue, type TopicStep } from '../../../src/daemon/topics/topic-queue.ts'

function drain<K, C>(queue: TopicQueue<K, C>): TopicStep<K, C>[] {
  const steps: TopicStep<K, C>[] = []
  for (let step = queue.take(); step !== undefined; step = queue.take()) steps.push(step)
  return steps
}

const latest = <T>(_before: T, now: T): T => now

describe('a topic of things that have a state', () => {
  it('tells changes in the order in which they came', () => {
    const queue = new TopicQueue<string, number>({ capacity: 4, merge: latest, keys: () => [] })
    queue.add('a', 1)
    queue.add('b', 2)
    expect(drain(queue)).toEqual([{ kind: 'change', key: 'a', change: 1 }, { kind: 'change', key: 'b', change: 2 }])
    expect(queue.take()).toBeUndefined()
  })

  it('tells of a thing that changed twice once, as it is now, and counts the other', () => {
    const queue = new TopicQueue<string, number>({ capacity: 4, merge: (before, now) => before + now, keys: () => [] })
    queue.add('a', 1)
    queue.add('a', 2)
    expect(drain(queue)).toEqual([{ kind: 'lost', count: 1 }, { kind: 'change', key: 'a', change: 3 }])
  })

  it('begins with everything there is, and says when that was told', () => {
    const queue = new TopicQueue<string, number>({ capacity: 4, merge: latest, keys: () => ['a', 'b'] })
    queue.startPass()
    expect(queue.take()).toEqual({ kind: 'change', key: 'a', change: undefined })
    queue.add('a', 7)
    expect(drain(queue)).toEqual([{ kind: 'change', key: 'b', change: undefined }, { kind: 'synced' }, { kind: 'change', key: 'a', change: 7 }])
  })

  it('without room drops what waits, says how much, and tells everything anew', () => {
    const queue = new TopicQueue<string, number>({ capacity: 2, merge: latest, keys: () => ['a', 'b', 'c'] })
    for (const key of ['a', 'b', 'c']) queue.add(key, 1)
    expect(drain(queue)).toEqual([
      { kind: 'lost', count: 3 }, ...['a', 'b', 'c'].map((key) => ({ kind: 'change', key, change: undefined })), { kind: 'synced' },
    ])
  })

  it('finishes a pass before the next, so that a reader slower than the changes gets to the end', () => {
    const queue = new TopicQueue<number, number>({ capacity: 1, merge: latest, keys: () => [0, 1, 2] })
    queue.startPass()
    const kinds: string[] = []
    for (let i = 0; i < 12; i++) {
      queue.add(100 + i, 1)
      kinds.push(queue.take()!.kind)
    }
    expect(kinds).toContain('synced')
  })

  it('whatever happens and however slow the reader: in the end it knows the state of everything, and every change was told or counted', () => {
    const steps = fc.array(fc.oneof(
      fc.record({ do: fc.constant('set' as const), key: fc.integer({ min: 0, max: 9 }), value: fc.nat(99) }),
      fc.record({ do: fc.constant('delete' as const), key: fc.integer({ min: 0, max: 9 }) }),
      fc.record({ do: fc.constant('read' as const) }), fc.record({ do: fc.constant('pass' as const) }),
    ), { maxLength: 200 })
    fc.assert(fc.property(steps, fc.integer({ min: 1, max: 5 }), (plan, capacity) => {
      const world = new Map<number, number>()
      const known = new Map<number, number>()
      let stale = new Set<number>()
      let [changes, told, counted] = [0, 0, 0]
      const queue = new TopicQueue<number, 'changed'>({ capacity, merge: latest, keys: () => [...world.keys()] })
      const read = (step: TopicStep<number, 'changed'>): void => {
        if (step.kind === 'lost') {
          counted += step.count
          stale = new Set(known.keys())
        } else if (step.kind === 'synced') {
          for (const key of stale) known.delete(key)
          stale.clear()
        } else {
          if (step.change !== undefined) told++
          stale.delete(step.key)
          const value = world.get(step.key)
          if (value === undefined) known.delete(step.key)
          else known.set(step.key, value)
        }
      }
      for (const step of plan) {
        if (step.do === 'pass') queue.startPass()
        if (step.do === 'read') {
          const next = queue.take()
          if (next !== undefined) read(next)
        }
        if (step.do !== 'set' && step.do !== 'delete') continue
        if (step.do === 'set') world.set(step.key, step.value)
        else world.delete(step.key)
        queue.add(step.key, 'changed')
        changes++
      }
      for (const step of drain(queue)) read(step)
      // What was lost without a pass is in a change behind it: nothing stays stale that is not so.
      expect(new Map(known)).toEqual(new Map(world))
      expect(told + counted).toBe(changes)
    }), { numRuns: 2000, examples: [[[{ do: 'set', key: 0, value: 0 }, { do: 'delete', key: 1 }, { do: 'set', key: 2, value: 0 }, { do: 'delete', key: 9 }, { do: 'read' }, { do: 'read' }, { do: 'delete', key: 9 }], 2]] })
  })
})

describe('a topic of things that happen', () => {
  it('without room drops the oldest, and says how many', () => {
    const queue = new TopicQueue<number, string>({ capacity: 2, merge: latest })
    for (const [i, line] of ['a', 'b', 'c', 'd'].entries()) queue.add(i, line)
    expect(drain(queue)).toEqual([{ kind: 'lost', count: 2 }, { kind: 'change', key: 2, change: 'c' }, { kind: 'change', key: 3, change: 'd' }])
  })
})
