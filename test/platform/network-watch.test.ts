import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { hasNetwork, networkFingerprint, NetworkWatch } from '../../src/platform/network-watch.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

it('tells each change once, and nothing after it was closed', () => {
  let text = 'eth0 192.0.2.1'
  let changes = 0
  const watch = new NetworkWatch(() => changes++, () => text, 100)
  vi.advanceTimersByTime(1000)
  expect(changes).toBe(0)
  text = 'eth0 192.0.2.2'
  vi.advanceTimersByTime(1000)
  expect(changes).toBe(1)
  watch.close()
  text = ''
  vi.advanceTimersByTime(1000)
  expect(changes).toBe(1)
})

it('there is a network when there is an address besides loopback', () => {
  expect(hasNetwork()).toBe(networkFingerprint() !== '')
  expect(networkFingerprint()).not.toMatch(/ (127\.|::1$)/m)
})
