import { setTimeout as sleep } from 'node:timers/promises'
import type { Client, StatusResult } from '../client/client.ts'
import { parseInterval } from './arguments.ts'
import { FullScreen } from './full-screen.ts'
import type { Globals, Output } from './output.ts'
import type { WatchResult } from './results.ts'
import { interruption, withClient } from './session.ts'
import { inOrder, ratesBetween, watchLines } from './watch-screen.ts'

/** However much happens, the daemon is not asked more often. */
const LOOKS_APART_MS = 100

export interface WatchOptions {
  readonly interval?: string
  readonly once?: true
}

/** Peers and their paths, again and again: on a terminal drawn in place, elsewhere one below the other. */
export async function watch(globals: Globals, options: WatchOptions, output: Output): Promise<void> {
  const intervalMs = parseInterval(options.interval ?? '1', '--interval')
  const stop = new AbortController()
  interruption().addEventListener('abort', () => stop.abort(), { once: true })
  await withClient(globals, async (client) => {
    const look = looker(client, stop.signal)
    if (options.once === true) show(await look(), output)
    else if (output.redraws) await onScreen(look, await changes(client, intervalMs), stop, output)
    else await oneBelowTheOther(look, intervalMs, stop.signal, output)
  })
}

/** Each look knows the one before, for the rates. */
function looker(client: Client, signal: AbortSignal): () => Promise<WatchResult> {
  let before: StatusResult | undefined
  return async () => {
    const [status, peers] = await Promise.all([client.status({ signal }), client.peers({ signal })])
    const rates = before === undefined ? undefined : ratesBetween(before, status)
    before = status
    const { peerId, version, uptimeMs, sessions, lanes, ble } = status
    return { at: Date.now(), peerId, version, uptimeMs, sessions, ...(rates === undefined ? {} : { rates }), lanes, ...(ble === undefined ? {} : { ble }), peers: inOrder(peers) }
  }
}

function show(snapshot: WatchResult, output: Output): void {
  output.result('watch', snapshot, () => watchLines(snapshot, { columns: output.columns, rows: Infinity, colours: output.colours }).join('\n'))
}

async function oneBelowTheOther(look: () => Promise<WatchResult>, intervalMs: number, signal: AbortSignal, output: Output): Promise<void> {
  for (let first = true; !signal.aborted; first = false) {
    const snapshot = await unlessStopped(look, signal)
    if (snapshot === undefined) return
    if (!first && !output.json) process.stdout.write('\n')
    show(snapshot, output)
    await sleep(intervalMs, undefined, { signal }).catch(() => undefined)
  }
}

/** Figures are looked at in their interval; that a peer came, went or moved is seen when it happens. */
async function changes(client: Client, intervalMs: number): Promise<(signal: AbortSignal) => Promise<void>> {
  const subscription = await client.subscribe({ topics: ['peer', 'path', 'channel', 'ble'] })
  let changed = false
  let wake = (): void => undefined
  const reading = (async () => {
    for await (const { name } of subscription) {
      if (name === 'event.synced') continue
      changed = true
      wake()
    }
  })()
  // The look that follows fails for the same reason, and says so.
  reading.catch(() => undefined)
  return async (signal) => {
    await sleep(Math.min(intervalMs, LOOKS_APART_MS), undefined, { signal }).catch(() => undefined)
    const interval = new AbortController()
    wake = () => interval.abort()
    if (changed) wake()
    await sleep(Math.max(0, intervalMs - LOOKS_APART_MS), undefined, { signal: AbortSignal.any([signal, interval.signal]) }).catch(() => undefined)
    changed = false
  }
}

async function onScreen(look: () => Promise<WatchResult>, pause: (signal: AbortSignal) => Promise<void>, stop: AbortController, output: Output): Promise<void> {
  let latest: WatchResult | undefined
  const draw = (): void => {
    if (latest === undefined) return
    const size = { columns: process.stdout.columns, rows: process.stdout.rows - 1, colours: output.colours }
    screen.draw([...watchLines(latest, size), 'q ends it'])
  }
  using screen = new FullScreen(process.stdout, process.stdin, { resize: draw, end: () => stop.abort() })
  while (!stop.signal.aborted) {
    latest = await unlessStopped(look, stop.signal)
    draw()
    await pause(stop.signal)
  }
}

/** Being stopped in the middle of a look is no failure. */
async function unlessStopped(look: () => Promise<WatchResult>, signal: AbortSignal): Promise<WatchResult | undefined> {
  try {
    return await look()
  } catch (error) {
    if (signal.aborted) return undefined
    throw error
  }
}
