import { setTimeout as sleep } from 'node:timers/promises'
import type { BleNearbyResult, Client, PowerMode } from '../client/client.ts'
import { PosternError } from '../core/base/errors.ts'
import { powerModes } from '../core/base/power-mode.ts'
import { parseInterval } from './arguments.ts'
import { bleStatusText, nearbyText, powerText } from './ble-text.ts'
import { FullScreen } from './full-screen.ts'
import type { Globals, Output } from './output.ts'
import { interruption, withClient } from './session.ts'

/** Who is in range is heard within a second or two where both look hard, and within four where the other one shows itself once a second only. */
const FIRST_LOOK_MS = 4000
const LOOK_MS = 250
/** However much happens on the air, a screen is drawn no more often. */
const DRAWS_APART_MS = 200

export interface NearbyOptions {
  readonly watch?: true
  readonly interval?: string
}

/** Whether this node has Bluetooth, why not, and what it is doing with it. */
export async function bleStatus(globals: Globals, output: Output): Promise<void> {
  const status = await withClient(globals, (client) => client.bleStatus())
  output.result('ble-status', status, () => bleStatusText(status))
}

/** How much the radio is used and what that costs; with a mode, it is set. */
export async function blePower(globals: Globals, wish: string | undefined, output: Output): Promise<void> {
  const mode = wish === undefined ? undefined : parsePowerMode(wish)
  const power = await withClient(globals, (client) => client.blePower(mode))
  output.result('ble-power', power, () => powerText(power))
}

function parsePowerMode(text: string): PowerMode {
  const mode = powerModes.find((known) => known === text)
  if (mode === undefined) throw new PosternError('params', `${text} is no power mode.`, { hint: `One of: ${powerModes.join(', ')}` })
  return mode
}

/** Who is in range, once or again and again: on a terminal drawn in place, elsewhere one below the other. */
export async function nearby(globals: Globals, options: NearbyOptions, output: Output): Promise<void> {
  const intervalMs = parseInterval(options.interval ?? '1', '--interval')
  const stop = new AbortController()
  interruption().addEventListener('abort', () => stop.abort(), { once: true })
  await withClient(globals, async (client) => {
    if (options.watch !== true) show(await firstFound(client, stop.signal, output), output)
    else if (output.redraws) await onScreen(client, intervalMs, stop)
    else await oneBelowTheOther(client, intervalMs, stop.signal, output)
  }).catch((error: unknown) => {
    if (!stop.signal.aborted) throw error
  })
}

async function oneBelowTheOther(client: Client, intervalMs: number, stop: AbortSignal, output: Output): Promise<void> {
  while (!stop.aborted) {
    show(await client.nearby(), output)
    await sleep(intervalMs, undefined, { signal: stop }).catch(() => undefined)
  }
}

/** The first question makes the daemon look hard: it is asked again until somebody was heard. */
async function firstFound(client: Client, stop: AbortSignal, output: Output): Promise<BleNearbyResult> {
  const until = performance.now() + FIRST_LOOK_MS
  let found = await client.nearby()
  for (let told = false; found.state === 'on' && found.devices.length === 0 && performance.now() < until && !stop.aborted; told = true) {
    if (!told) output.progress('listening …')
    await sleep(LOOK_MS, undefined, { signal: stop }).catch(() => undefined)
    found = await client.nearby()
  }
  return found
}

async function onScreen(client: Client, intervalMs: number, stop: AbortController): Promise<void> {
  await using changes = await client.subscribe({ topics: ['ble'] })
  let latest = await client.nearby()
  let wake = (): void => undefined
  const draw = (): void => { screen.draw([...nearbyText(latest).split('\n'), '', 'q ends it']) }
  using screen = new FullScreen(process.stdout, process.stdin, { resize: draw, end: () => stop.abort() })
  void (async () => {
    for await (const _ of changes) wake()
  })().catch(() => undefined)
  while (!stop.signal.aborted) {
    draw()
    await sleep(Math.min(DRAWS_APART_MS, intervalMs), undefined, { signal: stop.signal }).catch(() => undefined)
    const pause = new AbortController()
    wake = () => pause.abort()
    await sleep(Math.max(0, intervalMs - DRAWS_APART_MS), undefined, { signal: AbortSignal.any([stop.signal, pause.signal]) }).catch(() => undefined)
    latest = await client.nearby()
  }
}

function show(found: BleNearbyResult, output: Output): void {
  output.result('nearby', found, () => nearbyText(found))
}
