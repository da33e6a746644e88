/**
 * Sixteen friends in one room and no network: the shipping endpoint, Bluetooth driver, radio and links in virtual time, on radios with duty cycles,
 * connection events, losses and addresses that change. A radio bears 6 links that it dialed and 4 others, so 64 of the 120 pairs have one.
 */
import { describe, expect, it } from 'vitest'
import { hourOf } from '../../src/core/session/presence.ts'
import type { SimNode } from '../../src/sim/sim-node.ts'
import { Mesh, MINUTE, SECOND } from './mesh.ts'

const NODES = 16
/** Every link that others dial is used. */
const LINKS = 4 * NODES
/** One message in a minute each way on each link. */
const MESSAGES_PER_MINUTE = 2 * LINKS
/** `npm run test:world -- --seeds <n>`: everything, not what is quick. */
const whole = process.env['POSTERN_WORLD_SEEDS'] !== undefined

/** It has found itself, and every pair that could have a link has one. */
function settle(mesh: Mesh, duration: number): void {
  mesh.run(duration)
  expect(mesh.missing()).toEqual([])
  expect([mesh.sessionCount, mesh.linkCount]).toEqual([LINKS, LINKS])
}

/** Nothing changes any more, and everything that is said comes. */
function expectCalm(mesh: Mesh, minutes: number): void {
  const { opened, ended, received } = mesh.run(minutes * MINUTE)
  expect([opened, ended]).toEqual([0, 0])
  expect(Math.abs(received - minutes * MESSAGES_PER_MINUTE)).toBeLessThan(MESSAGES_PER_MINUTE)
}

function tablesOf({ endpoint }: SimNode): object {
  const { indexes: _, ...others } = endpoint.tables()
  return others
}

describe('a mesh by Bluetooth', () => {
  it('finds itself within minutes and then stays as it is for an hour, over the change of all hints', () => {
    const mesh = new Mesh(1, NODES)
    settle(mesh, 4 * MINUTE)
    // Keys of each session are exchanged and old ones wiped by now: what they hold is the same from here on.
    mesh.run(6 * MINUTE)
    const before = mesh.nodes.map(({ node }) => ({ used: node.endpoint.arena.used, tables: tablesOf(node), hint: node.endpoint.radio.hint(node.now()).join() }))
    const hour = hourOf(mesh.scheduler.clock().wall)
    const timeouts = mesh.nodes.map(({ node }) => node.timeouts)
    expectCalm(mesh, 60)
    expect(hourOf(mesh.scheduler.clock().wall)).toBe(hour + 1)
    for (const [index, { node }] of mesh.nodes.entries()) {
      const { used, tables, hint } = before[index]!
      expect(node.endpoint.radio.hint(node.now()).join()).not.toBe(hint)
      // A message or two may be under way.
      expect(node.endpoint.arena.used).toBeLessThan(used + 8192)
      // The keys before the ones in use may be there still.
      const { indexes, ...others } = node.endpoint.tables()
      expect(others).toEqual(tables)
      expect(indexes).toBeLessThanOrEqual(2 * others['sessions']!)
      // Ten sessions, each with messages, keep-alives and rekeys: some dozen wake-ups a minute for each.
      expect(node.timeouts - timeouts[index]!).toBeLessThan(60 * 10 * 60)
    }
    // Whoever leaves now and comes back is known by its new hint.
    const away = mesh.nodes[3]!
    mesh.setReach((a, b) => a === b || (a.index !== 3 && b.index !== 3))
    mesh.run(MINUTE)
    expect(away.ble.driver.links()).toEqual([])
    mesh.setReach(() => true)
    settle(mesh, 5 * MINUTE)
    expect(away.ble.driver.links().length).toBeGreaterThanOrEqual(4)
  })

  it('closes up again after somebody was away, adapters were gone, or the air was dead: for a moment, and for longer than sessions are kept', () => {
    const mesh = new Mesh(2, NODES)
    settle(mesh, 5 * MINUTE)
    for (const seconds of whole ? [3, 40, 700] : [40]) {
      mesh.setReach((a, b) => (a.index < 2) === (b.index < 2))
      mesh.run(seconds * SECOND)
      mesh.setReach(() => true)
      settle(mesh, 5 * MINUTE)
      for (const index of [4, 9]) mesh.nodes[index]!.radio.setState('absent')
      mesh.run(seconds * SECOND)
      for (const index of [4, 9]) mesh.nodes[index]!.radio.setState('on')
      settle(mesh, 5 * MINUTE)
      mesh.setReach(() => false)
      mesh.run(seconds * SECOND)
      mesh.setReach(() => true)
      settle(mesh, 6 * MINUTE)
      expectCalm(mesh, 5)
    }
  })

  it('is made of whom one hears, also when everybody walks: links follow, one for each pair', () => {
    const mesh = new Mesh(3, NODES)
    // In a row, and each hears two to either side; then the odd ones walk along it.
    let step = 0
    const placeOf = (index: number): number => index % 2 === 0 ? index : (index + 2 * step) % NODES
    const near = (a: { readonly index: number }, b: { readonly index: number }): boolean => Math.abs(placeOf(a.index) - placeOf(b.index)) <= 2
    mesh.setReach(near)
    for (const walked of whole ? [0, 1, 2, 3, 4, 5] : [0, 1]) {
      step = walked
      mesh.setReach(near)
      mesh.run(4 * MINUTE)
      expect(mesh.missing()).toEqual([])
      // Nobody has more friends in range than others may dial.
      for (const [a, b] of mesh.pairs) expect(mesh.connected(a, b), `${a.index}–${b.index} at step ${step}`).toBe(near(a, b))
      expect(mesh.linkCount).toBe(mesh.sessionCount)
    }
    const { opened, ended } = mesh.run(10 * MINUTE)
    expect([opened, ended]).toEqual([0, 0])
  })

  it('keeps one of two links when both have dialed at the same moment', () => {
    let twice = 0
    for (let seed = 1; seed <= (whole ? 60 : 20); seed++) {
      const mesh = new Mesh(seed, 2)
      let most = 0
      for (let i = 0; i < 100; i++) {
        mesh.run(SECOND / 5)
        most = Math.max(most, mesh.linkCount)
      }
      if (most > 1) twice++
      expect([mesh.linkCount, mesh.sessionCount], `seed ${seed}`).toEqual([1, 1])
      expect(mesh.nodes.map(({ interrupted }) => interrupted)).toEqual([0, 0])
    }
    expect(twice).toBeGreaterThan(0)
  })

  it.runIf(whole).each(['background', 'saver'] as const)('finds itself in power mode %s too, though that takes longer, and stays', (mode) => {
    const mesh = new Mesh(4, NODES, mode)
    settle(mesh, (mode === 'saver' ? 40 : 10) * MINUTE)
    expectCalm(mesh, 10)
  })
})
