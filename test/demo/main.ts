/**
 * `npm run demo`: two daemons, a bad network between them, and two game clients that play dice over it.
 *
 *     ann's game client ── IPC ── ann's posternd ── UDP ── proxy ── UDP ── bob's posternd ── IPC ── bob's game client
 *
 * In mid-game the proxy stops to carry UDP, and later carries it again: the game goes on over TCP meanwhile.
 *
 * With `--ble` the proxy carries nothing at first. The two daemons have a virtual air instead, which this process serves; they are paired and
 * play there, until the proxy begins to carry all in mid-game.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect } from 'postern/client'
import { openAir, pairInRange, Upgrade, whyNoBluetooth } from './ble.ts'
import { Cleanup } from './cleanup.ts'
import { Cut } from './cut.ts'
import type { Player } from './dice.ts'
import { Game } from './game.ts'
import { LossyProxy } from './lossy-proxy.ts'
import { parseOptions, usage, UsageError, type DemoOptions } from './options.ts'
import { DemoDaemon, PlayerProcess } from './processes.ts'
import { judge, type DemoResult } from './result.ts'
import { names, Screen } from './screen.ts'
import { aborted, seconds } from './waiting.ts'

/** The demo never takes longer: a line that hangs is a failure. */
const DEADLINE_MS = 55_000
/** Rounds come no quicker than one can read, and all of them fit well below the deadline. */
const PACE_MS = 250
const ALL_ROUNDS_MS = 25_000
const REORDER = 0.1
const DELAY_MS = 4
const JITTER_MS = 2
/** A datagram held back so long is overtaken by the next update at 60 Hz. */
const HELD_MS = [18, 30] as const
/** When in the game UDP is cut, and when it is healed, as shares of the rounds; and how long the way back may take after its end. */
const CUT_AT = 0.25
const HEAL_AT = 0.5
/** When there is a network at all, with `--ble`. */
const NETWORK_AT = 0.4
/** Without one of the optional packages: a service that is not there (sysexits.h). */
const UNAVAILABLE = 69
const BACK_PATIENCE_MS = 6000

async function demo(options: DemoOptions, screen: Screen, signal: AbortSignal): Promise<DemoResult> {
  const started = performance.now()
  await using resources = new Cleanup()
  const base = mkdtempSync(join(tmpdir(), 'postern-demo-'))
  resources.defer(() => rmSync(base, { recursive: true, force: true }))
  const proxy = resources.use(await LossyProxy.open({ seed: options.seed, loss: options.loss, reorder: REORDER, delayMs: DELAY_MS, jitterMs: JITTER_MS, heldMs: HELD_MS }))
  const air = options.ble ? join(base, 'air') : undefined
  if (air !== undefined) {
    proxy.cutAll()
    resources.use(await openAir(air))
  }
  const daemons = {
    host: resources.use(DemoDaemon.start(names.host, join(base, names.host), [proxy.address], air)),
    guest: resources.use(DemoDaemon.start(names.guest, join(base, names.guest), [], air)),
  }
  const mishap = Promise.race([aborted(signal), ...[daemons.host, daemons.guest].map((daemon) => daemon.ended().then((how) => Promise.reject(new Error(how))))])
  mishap.catch(() => undefined)
  const orMishap = <T>(work: Promise<T>): Promise<T> => Promise.race([work, mishap])

  const [hostPort] = await orMishap(Promise.all([daemons.host.ready(), daemons.guest.ready()]))
  proxy.forwardTo(hostPort)
  screen.step(`two daemons run, each with its own identity and encrypted state (${seconds(started)})`)
  const host = resources.use(await orMishap(connect({ dir: daemons.host.dir, name: 'demo' })))
  const guest = resources.use(await orMishap(connect({ dir: daemons.guest.dir, name: 'demo' })))
  if (options.ble) {
    const code = await orMishap(pairInRange(host, guest))
    screen.step(`${names.host} and ${names.guest} are in range: both read ${code.slice(0, 3)} ${code.slice(3)}, said yes, and are in session by Bluetooth (${seconds(started)})`)
  } else {
    const { link } = await orMishap(host.invites.create({ name: names.guest, expiresS: 600 }))
    await orMishap(guest.invites.join(link))
    await orMishap(guest.connectPeer(host.peerId, { timeoutMs: DEADLINE_MS }))
    screen.step(`${names.guest} joined by ${names.host}'s invite, through the bad network (${seconds(started)})`)
  }

  const cut = options.cut ? resources.use(new Cut(proxy, guest, screen)) : undefined
  const upgrade = options.ble ? resources.use(new Upgrade(proxy, host, guest, screen, Math.round(performance.now() - started))) : undefined
  const game = new Game(screen, (round) => {
    if (round === Math.floor(NETWORK_AT * options.rounds)) upgrade?.begin(round)
    if (round === Math.floor(CUT_AT * options.rounds)) cut?.begin()
    if (round === Math.floor(HEAL_AT * options.rounds)) cut?.heal()
  })
  const paceMs = Math.min(PACE_MS, ALL_ROUNDS_MS / options.rounds)
  const start = (player: Player, dir: string, peer: string): PlayerProcess =>
    resources.use(new PlayerProcess(names[player], { player, dir, peer, rounds: options.rounds, paceMs, byPath: options.ble }, (report) => game.take(player, report)))
  const hostProcess = start('host', daemons.host.dir, guest.peerId)
  hostProcess.ended().then((how) => game.ended('host', how), () => undefined)
  await orMishap(game.listening)
  const guestProcess = start('guest', daemons.guest.dir, host.peerId)
  guestProcess.ended().then((how) => game.ended('guest', how), () => undefined)
  screen.step('two game clients run, each on the IPC of its own daemon, with a reliable and an unreliable channel')
  const figures = await orMishap(game.finished)
  const cutResult = await cut?.end(BACK_PATIENCE_MS)
  const bleResult = await upgrade?.end()

  const counters = { host: (await orMishap(host.status())).counters, guest: (await orMishap(guest.status())).counters }
  return judge({
    seed: options.seed, rounds: options.rounds, seconds: (performance.now() - started) / 1000, rolls: game.rolls, figures,
    network: [proxy.toBack, proxy.toFront], counters, cut: cutResult, ble: bleResult,
  })
}

async function main(): Promise<number> {
  const options = parseOptions(process.argv.slice(2))
  if (options === undefined) {
    process.stdout.write(`${usage}\n`)
    return 0
  }
  const lacking = options.ble ? whyNoBluetooth() : undefined
  if (lacking !== undefined) {
    process.stderr.write(`${lacking}\n`)
    return UNAVAILABLE
  }
  const stop = new AbortController()
  let status = 1
  // Asked again or not: it ends what it started, and then itself.
  for (const [signal, number] of [['SIGINT', 2], ['SIGTERM', 15], ['SIGHUP', 1]] as const) {
    process.on(signal, () => {
      status = 128 + number
      stop.abort(new Error(`stopped by ${signal}`))
    })
  }
  const deadline = setTimeout(() => stop.abort(new Error(`it took longer than ${DEADLINE_MS / 1000} s`)), DEADLINE_MS)
  const screen = new Screen(options)
  try {
    const result = await demo(options, screen, stop.signal)
    screen.result(result)
    return result.ok ? 0 : 1
  } catch (error) {
    screen.failure(error instanceof Error ? error.message : String(error))
    return status
  } finally {
    clearTimeout(deadline)
  }
}

main().then(
  (status) => {
    process.exitCode = status
  },
  (error: unknown) => {
    process.stderr.write(error instanceof UsageError ? `${error.message}\n\n${usage}\n` : `${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`)
    process.exitCode = error instanceof UsageError ? 64 : 70
  },
)
