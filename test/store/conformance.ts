import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { compareBytes, utf8 } from '../../src/core/base/bytes.ts'
import { BATCH_COUNT_MAX, KEY_SIZE_MAX, VALUE_SIZE_MAX, WATCH_BACKLOG_MAX, WATCHER_COUNT_MAX, type Change, type Operation, type Store } from '../../src/store/store.ts'
import { contentOf, expectRefusal, refusal } from './helpers.ts'

/** One place where stores can be opened. */
export interface StorePlace {
  /** Opens the store of the place; again only after the last one was closed. */
  open(): Promise<Store>
  dispose(): Promise<void>
}

/** What every {@link Store} must do. `isDurable` = a store opened again at the same place has everything. */
export function storeConformance(name: string, isDurable: boolean, makePlace: () => Promise<StorePlace>): void {
  describe(`store conformance: ${name}`, () => {
    let place: StorePlace
    let store: Store
    beforeEach(async () => {
      place = await makePlace()
      store = await place.open()
    })
    afterEach(async () => {
      await store.close()
      await place.dispose()
    })

    readsAndWrites(() => store)
    limits(() => store)
    scans(() => store)
    watches(() => store)

    it('refuses everything after close, which finishes what was called', async () => {
      const last = store.put('last', utf8('1'))
      const closing = store.close()
      await expectRefusal(store.put('late', utf8('1')), 'closed')
      await Promise.all([last, closing, store.close()])
      await expectRefusal(store.get('last'), 'closed')
      await expectRefusal(store.delete('last'), 'closed')
      await expectRefusal(store.batch([]), 'closed')
      await expectRefusal(contentOf(store), 'closed')
      await expectRefusal((async () => Promise.resolve(store.watch('', new AbortController().signal)))(), 'closed')
    })

    if (isDurable) it('has everything when it is opened again', async () => {
      await store.batch([{ kind: 'put', key: 'a', value: utf8('1') }, { kind: 'put', key: 'empty', value: new Uint8Array(0) }, { kind: 'put', key: '\ufeffmark', value: utf8('2') }, { kind: 'put', key: '\u{1f5dd}', value: utf8('3') }])
      await store.put('big', new Uint8Array(VALUE_SIZE_MAX).fill(7))
      await store.delete('a')
      const before = await contentOf(store)
      await store.close()
      store = await place.open()
      expect(await contentOf(store)).toEqual(before)
      expect(Object.keys(before)).toEqual(['big', 'empty', '\ufeffmark', '\u{1f5dd}'])
      expect((await store.get('big'))?.every((byte) => byte === 7)).toBe(true)
    })

    it('behaves as a map does', async () => {
      await fc.assert(fc.asyncProperty(fc.array(steps, { maxLength: 25 }), async (script) => {
        const own = await makePlace()
        let open = await own.open()
        const reopen = async (): Promise<Store> => {
          open = await own.open()
          return open
        }
        try {
          await followModel(open, script, isDurable ? reopen : undefined)
        } finally {
          await open.close()
          await own.dispose()
        }
      }), { numRuns: 60 })
    })
  })
}

function readsAndWrites(store: () => Store): void {
  it('gives back what was put', async () => {
    expect(await store().get('a')).toBeUndefined()
    await store().put('a', utf8('1'))
    await store().put('a', utf8('2'))
    await store().put('b', new Uint8Array(0))
    expect(await contentOf(store())).toEqual({ a: '2', b: '' })
    await store().delete('a')
    await store().delete('never there')
    expect(await store().get('a')).toBeUndefined()
    expect(await store().get('b')).toEqual(new Uint8Array(0))
  })

  it('copies bytes in and out', async () => {
    // The `slice` of a Buffer is a view.
    const values = [utf8('before'), Buffer.from('before')]
    const putting = store().batch(values.map((value, i) => ({ kind: 'put', key: `k${i}`, value })))
    for (const value of values) value.fill(0)
    await putting
    for (const key of ['k0', 'k1']) (await store().get(key))!.fill(0)
    for await (const entry of store().scan('')) entry.value.fill(0)
    expect(await contentOf(store())).toEqual({ k0: 'before', k1: 'before' })
  })

  it('applies a batch in order and writes in the order of the calls', async () => {
    await Promise.all([
      store().put('a', utf8('first')),
      store().batch([{ kind: 'delete', key: 'a' }, { kind: 'put', key: 'b', value: utf8('1') }, { kind: 'put', key: 'b', value: utf8('2') }, { kind: 'put', key: 'c', value: utf8('3') }, { kind: 'delete', key: 'c' }]),
      store().put('d', utf8('4')), store().delete('d'), store().put('d', utf8('5')),
    ])
    await store().batch([])
    expect(await contentOf(store())).toEqual({ b: '2', d: '5' })
  })

  it('shows a write to readers when it has resolved', async () => {
    await store().put('a', utf8('1'))
    await store().put('a', utf8('2'))
    expect(await store().get('a')).toEqual(utf8('2'))
    expect(store().failure).toBeUndefined()
  })
}

function limits(store: () => Store): void {
  it('takes the largest key and value, and refuses larger ones', async () => {
    const key = 'k'.repeat(KEY_SIZE_MAX)
    await store().put(key, new Uint8Array(VALUE_SIZE_MAX))
    expect((await store().get(key))?.length).toBe(VALUE_SIZE_MAX)
    await expectRefusal(store().put(`${key}k`, utf8('')), 'limit')
    await expectRefusal(store().put('ü'.repeat(KEY_SIZE_MAX / 2 + 1), utf8('')), 'limit')
    await expectRefusal(store().get(`${key}k`), 'limit')
    await expectRefusal(store().put('a', new Uint8Array(VALUE_SIZE_MAX + 1)), 'limit')
    const many: Operation[] = Array.from({ length: BATCH_COUNT_MAX + 1 }, (_, i) => ({ kind: 'delete', key: `k${i}` }))
    await expectRefusal(store().batch(many), 'limit')
    await store().batch(many.slice(1))
    const large: Operation[] = Array.from({ length: 8 }, (_, i) => ({ kind: 'put', key: `l${i}`, value: new Uint8Array(VALUE_SIZE_MAX) }))
    await expectRefusal(store().batch(large), 'limit')
    expect(await store().get('l0')).toBeUndefined()
  })

  it('refuses keys that are no text', async () => {
    for (const key of ['', '\ud800', 'a\udc00b']) {
      await expectRefusal(store().put(key, utf8('')), 'params')
      await expectRefusal(store().get(key), 'params')
      await expectRefusal(store().delete(key), 'params')
    }
    await expectRefusal((async () => Promise.resolve(store().scan('\ud800')))(), 'params')
  })

  it('applies nothing of a batch that it refuses', async () => {
    await refusal(store().batch([{ kind: 'put', key: 'a', value: utf8('1') }, { kind: 'put', key: '', value: utf8('1') }]))
    expect(await contentOf(store())).toEqual({})
  })
}

function scans(store: () => Store): void {
  it('scans a prefix in the order of key bytes', async () => {
    // U+10000 is behind U+FFFF in UTF-8 and before it in UTF-16.
    const keys = ['p/', 'p/a', 'p/a/b', 'p/é', 'p/\ufeff', 'p/\uffff', 'p/\u{10000}', 'p0', 'o', 'q']
    await store().batch([...keys].reverse().map((key) => ({ kind: 'put', key, value: utf8(key) })))
    expect(Object.keys(await contentOf(store(), 'p/'))).toEqual(keys.slice(0, 7))
    const all = Object.keys(await contentOf(store()))
    expect(all).toEqual([...keys].sort((a, b) => compareBytes(utf8(a), utf8(b))))
    expect(await contentOf(store(), 'nothing')).toEqual({})
  })

  it('scans in pages', async () => {
    await store().batch(['a1', 'a2', 'a3', 'a4', 'b1'].map((key) => ({ kind: 'put', key, value: utf8('') })))
    const page = async (options: { after?: string; limit?: number }): Promise<string[]> => {
      const keys: string[] = []
      for await (const { key } of store().scan('a', options)) keys.push(key)
      return keys
    }
    expect(await page({ limit: 2 })).toEqual(['a1', 'a2'])
    expect(await page({ after: 'a2', limit: 2 })).toEqual(['a3', 'a4'])
    expect(await page({ after: 'a2x' })).toEqual(['a3', 'a4'])
    expect(await page({ after: 'a4' })).toEqual([])
    expect(await page({ after: 'A' })).toHaveLength(4)
    expect(await page({ limit: 0 })).toEqual([])
  })

  it('shows a scan one moment, whatever is written meanwhile', async () => {
    await store().batch(['a', 'b', 'c'].map((key) => ({ kind: 'put', key, value: utf8('old') })))
    const seen: string[] = []
    for await (const { key, value } of store().scan('')) {
      seen.push(`${key}=${new TextDecoder().decode(value)}`)
      if (key === 'a') await store().batch([{ kind: 'put', key: 'b', value: utf8('new') }, { kind: 'delete', key: 'c' }, { kind: 'put', key: 'bb', value: utf8('new') }])
    }
    expect(seen).toEqual(['a=old', 'b=old', 'c=old'])
  })

  it('ends a scan with the reason of its signal', async () => {
    await store().batch(['a', 'b'].map((key) => ({ kind: 'put', key, value: utf8('') })))
    const controller = new AbortController()
    const seen: string[] = []
    await expect((async () => {
      for await (const { key } of store().scan('', { signal: controller.signal })) {
        seen.push(key)
        controller.abort(new Error('enough'))
      }
    })()).rejects.toThrow('enough')
    expect(seen).toEqual(['a'])
  })
}

async function collect(changes: AsyncIterable<Change>): Promise<string[]> {
  const seen: string[] = []
  for await (const change of changes) seen.push(change.kind === 'lost' ? 'lost' : `${change.kind} ${change.key}`)
  return seen
}

function watches(store: () => Store): void {
  it('tells a watcher every change of its prefix, in order, from the call on', async () => {
    await store().put('p/before', utf8(''))
    const controller = new AbortController()
    const watcher = store().watch('p/', controller.signal)
    await store().put('p/a', utf8('1'))
    await store().batch([{ kind: 'put', key: 'q', value: utf8('') }, { kind: 'delete', key: 'p/a' }, { kind: 'put', key: 'p/b', value: utf8('') }])
    const seen = collect(watcher)
    await store().put('p/c', utf8(''))
    await store().close()
    expect(await seen).toEqual(['put p/a', 'delete p/a', 'put p/b', 'put p/c'])
  })

  it('has the value for a watcher that reads after it was told', async () => {
    const controller = new AbortController()
    const iterator = store().watch('', controller.signal)[Symbol.asyncIterator]()
    const told = iterator.next()
    const putting = store().put('a', utf8('new'))
    expect(await told).toEqual({ done: false, value: { kind: 'put', key: 'a' } })
    expect(await store().get('a')).toEqual(utf8('new'))
    await putting
    controller.abort()
    expect(await iterator.next()).toEqual({ done: true, value: undefined })
  })

  it('tells a slow watcher that it lost changes, and every one after that', async () => {
    const watcher = store().watch('', new AbortController().signal)
    const puts = (from: number, count: number): Operation[] => Array.from({ length: count }, (_, i) => ({ kind: 'put', key: `k${from + i}`, value: utf8('') }))
    await store().batch(puts(0, WATCH_BACKLOG_MAX))
    await store().batch(puts(10_000, 3))
    await store().close()
    expect(await collect(watcher)).toEqual(['lost', 'put k10001', 'put k10002'])
  })

  it('forgets a watcher that aborted, was left, or came too late', async () => {
    const controller = new AbortController()
    const waiting = collect(store().watch('', controller.signal))
    controller.abort()
    expect(await waiting).toEqual([])
    expect(await collect(store().watch('', AbortSignal.abort()))).toEqual([])
    const putting = store().put('a', utf8(''))
    for await (const _ of store().watch('', new AbortController().signal)) break
    await putting
    const watch = (): AsyncIterable<Change> => store().watch('', new AbortController().signal)
    const watchers = Array.from({ length: WATCHER_COUNT_MAX }, watch)
    await expectRefusal((async () => Promise.resolve(watch()))(), 'limit')
    await watchers[0]![Symbol.asyncIterator]().return?.()
    expect(watch()).toBeDefined()
  })
}

type Step = { readonly kind: 'batch'; readonly operations: readonly Operation[]; readonly isAwaited: boolean } | { readonly kind: 'scan'; readonly prefix: string } | { readonly kind: 'reopen' }

const keys = fc.constantFrom('a', 'ab', 'abc', 'b', 'b/1', 'é', '\ufeff', '\uffff', '\u{10000}', '\u{10000}a')
const operations: fc.Arbitrary<Operation> = fc.oneof(
  fc.record({ kind: fc.constant('put' as const), key: keys, value: fc.uint8Array({ maxLength: 40 }) }),
  fc.record({ kind: fc.constant('delete' as const), key: keys }),
)
const steps: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('batch' as const), operations: fc.array(operations, { minLength: 1, maxLength: 5 }), isAwaited: fc.boolean() }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('scan' as const), prefix: fc.constantFrom('', 'a', 'ab', 'b', '\u{10000}') }) },
  { weight: 1, arbitrary: fc.constant({ kind: 'reopen' as const }) },
)

/** Runs a script on an empty store and on a Map, and compares. */
async function followModel(empty: Store, script: readonly Step[], reopen: (() => Promise<Store>) | undefined): Promise<void> {
  let store = empty
  const model = new Map<string, Uint8Array>()
  let pending: Promise<void>[] = []
  const settle = async (): Promise<void> => {
    await Promise.all(pending)
    pending = []
  }
  const compare = async (prefix: string): Promise<void> => {
    const seen: [string, Uint8Array][] = []
    for await (const { key, value } of store.scan(prefix)) seen.push([key, value])
    expect(seen).toEqual([...model].filter(([key]) => key.startsWith(prefix)).sort(([a], [b]) => compareBytes(utf8(a), utf8(b))))
  }
  for (const step of script) {
    if (step.kind === 'batch') {
      pending.push(store.batch(step.operations))
      for (const operation of step.operations) {
        if (operation.kind === 'put') model.set(operation.key, operation.value)
        else model.delete(operation.key)
      }
      if (step.isAwaited) await settle()
    } else if (step.kind === 'scan') {
      await settle()
      await compare(step.prefix)
    } else if (reopen !== undefined) {
      await Promise.all([settle(), store.close()])
      store = await reopen()
    }
  }
  await settle()
  await compare('')
}
