import { toHex } from '../../src/core/base/bytes.ts'
import type { PathRule } from '../../src/core/base/domain.ts'
import { toInstant } from '../../src/core/base/time.ts'
import type { SessionState } from '../../src/core/connection/state.ts'
import type { CryptoProvider } from '../../src/core/crypto/provider.ts'
import { NodeCryptoProvider } from '../../src/platform/node-crypto-provider.ts'
import { perfectWire, SimNetwork } from '../../src/sim/network.ts'
import { SeededRandom } from '../../src/sim/random.ts'
import { Scheduler } from '../../src/sim/scheduler.ts'
import { SimProvider } from '../../src/sim/sim-provider.ts'
import { Conversation, Incarnation, Stream, type Side } from './conversation.ts'
import { TimedAir } from '../support/timed-air.ts'
import { MILLISECOND, SECOND } from './draw.ts'
import { hold, WorldFailure } from './failure.ts'
import { Faults } from './faults.ts'
import { coreOf } from './inspect.ts'
import { checkFlight, checkPair, checkReleased } from './invariants.ts'
import { Machine } from './machine.ts'
import { planOf, type ConversationPlan, type WorldPlan } from './plan.ts'
import { modesPlanOf } from './plan-modes.ts'
import { pathPlanOf } from './plan-paths.ts'
import { radioPlanOf } from './plan-radio.ts'
import { PathWatch, type MoveKind } from './path-watch.ts'
import { NonceBook, WatchedProvider } from './provider.ts'
import { RadioWatch } from './radio-watch.ts'
import { Roads } from './roads.ts'
import { ToldStream } from './told-stream.ts'

/** All that was queued must be through this long after the last fault, whatever happened before. */
const PROGRESS_TIME = 120 * SECOND
/** Sessions end, and their tables empty, within this. */
const RELEASE_TIME = 60 * SECOND
const REOPEN_TIME = 200 * MILLISECOND
const LOOK_EVERY = 256
/** More tasks than this at one moment of virtual time, and time stands still. */
const SPIN_MAX = 50_000
/** After the faults: a good network, but no perfect one. */
const healed = { ...perfectWire, delay: 10 * MILLISECOND, jitter: MILLISECOND, loss: 0.005 }

/** What happened in a world, so that a run can be shown to have tried something. */
export type Totals = Record<PathRule | 'said' | 'heard' | 'blocked' | 'events' | 'reopened' | 'steps' | 'datagrams' | 'lost' | 'retransmitted' | 'sealed' | 'handshakes' | 'restarts' | 'noRoom' | 'consumersGone' | 'overTcp' | 'overBle' | 'longestGap', number>

export function noTotals(): Totals {
  return {
    first: 0, migrated: 0, only: 0, preferred: 0, tier: 0, policy: 0, black_hole: 0, refused: 0, closed: 0, said: 0, heard: 0, blocked: 0, events: 0, reopened: 0, steps: 0, datagrams: 0, lost: 0,
    retransmitted: 0, sealed: 0, handshakes: 0, restarts: 0, noRoom: 0, consumersGone: 0, overTcp: 0, overBle: 0, longestGap: 0,
  }
}

/** A few machines, a network and what happens to them, all from one seed. */
export class World {
  readonly plan: WorldPlan
  readonly scheduler: Scheduler = new Scheduler()
  readonly network: SimNetwork
  readonly roads: Roads
  readonly machines: readonly Machine[]
  readonly conversations: readonly Conversation[]
  readonly totals: Totals = noTotals()
  readonly watch: PathWatch | undefined
  readonly air: TimedAir | undefined
  readonly radioWatch: RadioWatch | undefined
  /** How long each move away from what died, or back to UDP, took. */
  readonly moves: Record<MoveKind, number[]> = { silent: [], told: [], connection: [], back: [], radio: [] }
  /** What happened so far, in words: printed when a seed is replayed. */
  readonly story: string[] = []
  healed = false
  /** Everything was said: sessions are closed on purpose now. */
  over = false
  readonly #random: SeededRandom
  readonly #book = new NonceBook()
  readonly #incarnations: Incarnation[] = []
  readonly #faults: Faults
  readonly #start: number
  #fingerprint = 0

  constructor(plan: WorldPlan) {
    this.plan = plan
    this.#random = new SeededRandom(plan.seed ^ 0x5eed)
    this.#start = this.scheduler.now
    this.network = new SimNetwork(this.scheduler, this.#random.fork())
    this.roads = new Roads(this.plan.calm)
    this.network.route = this.roads.route
    this.air = plan.radio === undefined ? undefined : new TimedAir(this.scheduler, this.#random.fork(), plan.radio.air)
    this.machines = this.plan.nodes.map((node, index) => new Machine(this, index, node, this.#random.fork()))
    for (const machine of this.machines) for (const other of this.machines) if (other !== machine) machine.know(other)
    this.conversations = this.plan.conversations.map((conversation, index) => new Conversation(index, conversation))
    for (const conversation of this.conversations) this.after(conversation.plan.startAt, () => { this.#begin(conversation) })
    this.#faults = new Faults(this)
    this.watch = plan.patience === undefined || plan.radio !== undefined ? undefined : new PathWatch(this)
    this.radioWatch = plan.radio === undefined ? undefined : new RadioWatch(this, plan.radio)
  }

  newProvider(): WatchedProvider {
    const random = this.#random.fork()
    const simulated = new SimProvider(random)
    const inner: CryptoProvider = this.plan.real ? new NodeCryptoProvider() : simulated
    return new WatchedProvider(inner, simulated.costs, random, this.#book)
  }

  /** A number that two runs of one seed share. */
  get fingerprint(): number {
    return this.#fingerprint
  }

  note(...numbers: readonly number[]): void {
    for (const number of numbers) this.#fingerprint = (Math.imul(this.#fingerprint ^ number, 0x0100_0193) + Math.floor(this.scheduler.now)) | 0
  }

  tell(what: string): void {
    this.story.push(`${(this.scheduler.now / SECOND).toFixed(6)} ${what}`)
  }

  after(delay: number, act: () => void): void {
    this.scheduler.at(this.scheduler.now + delay, act)
  }

  incarnation(key: number): Incarnation {
    const incarnation = this.#incarnations[key]
    hold(incarnation !== undefined, () => `a channel with key ${key}, which nobody opened`)
    return incarnation
  }

  // ── conversations ───────────────────────────────────────────────────────────────────────────────────────────────────────

  #begin(conversation: Conversation): void {
    const from = this.machines[conversation.plan.from]!
    const to = this.machines[conversation.plan.to]!
    if (!from.running || from.asleep) {
      this.after(REOPEN_TIME, () => { this.#begin(conversation) })
      return
    }
    const incarnation = new Incarnation(conversation, this.#incarnations.length, from, to, conversation.said, streamsOf(conversation.plan))
    this.#incarnations.push(incarnation)
    conversation.incarnations.push(incarnation)
    from.open(incarnation)
  }

  /** The opener's side of a channel is over. */
  onEnded(side: Side): void {
    const { conversation } = side.incarnation
    if (side.clean) {
      conversation.done = true
      return
    }
    this.totals.reopened++
    this.after(REOPEN_TIME, () => { this.#begin(conversation) })
  }

  // ── the run ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** The whole life of the world. Throws a {@link WorldFailure} at the first step at which something does not hold. */
  run(): Totals {
    this.#until(this.#start + this.plan.healAt, () => false)
    this.tell('everything is well again')
    this.#faults.heal()
    this.roads.setConditions([healed])
    this.healed = true
    const through = this.#until(this.scheduler.now + PROGRESS_TIME, () => this.conversations.every(({ done }) => done) && this.machines.every(({ sides }) => sides.size === 0))
    hold(through, () => `no progress: ${this.#unfinished()}`)
    this.#end()
    for (const incarnation of this.#incarnations) incarnation.verify()
    this.#collect()
    return this.totals
  }

  /** A message that is said all the time came. */
  onHeartbeat(side: Side): void {
    this.#checkGap(side)
    this.radioWatch?.onHeard(side)
    side.heardAt = this.scheduler.now
  }

  /** How long nothing came, although something could have. */
  #checkGap(side: Side): void {
    const gap = this.scheduler.now - (side.heardAt ?? this.scheduler.now)
    this.totals.longestGap = Math.max(this.totals.longestGap, gap)
    const { patience } = this.plan
    hold(patience === undefined || gap <= patience, () => `machine ${side.machine.index} heard nothing for ${(gap / SECOND).toFixed(3)} s although a path worked all the time`)
  }

  #checkHeartbeats(): void {
    for (const { plan, incarnations } of this.conversations) {
      const last = incarnations.at(-1)
      if (plan.heartbeat !== true || last === undefined) continue
      for (const side of [last.opener, last.acceptor]) if (side.incoming.received < plan.forward.lengths.length) this.#checkGap(side)
    }
  }

  onMoved(kind: MoveKind, duration: number): void {
    this.moves[kind].push(duration)
  }

  #end(): void {
    this.over = true
    for (const machine of this.machines) {
      machine.node.act((endpoint, now) => { endpoint.shutdown(now, toInstant(now.mono + RELEASE_TIME / 2)) })
    }
    this.#until(this.scheduler.now + RELEASE_TIME, () => false)
    for (const machine of this.machines) {
      hold(machine.drained, () => `machine ${machine.index} does not say drained`)
      checkReleased(machine, coreOf(machine.node.endpoint))
    }
  }

  /** Steps until `done` or the moment; whether it was done. */
  #until(moment: number, done: () => boolean): boolean {
    let at = -1
    let spins = 0
    while (!done()) {
      if (!this.scheduler.step(moment)) return done()
      this.totals.steps++
      if (this.totals.steps % LOOK_EVERY === 0) this.#look()
      spins = this.scheduler.now === at ? spins + 1 : 0
      at = this.scheduler.now
      hold(spins < SPIN_MAX, () => `time stands still at ${at}`)
    }
    return true
  }

  #look(): void {
    if (!this.over) this.watch?.look()
    if (!this.over) this.radioWatch?.look()
    this.#checkHeartbeats()
    const sessions = new Map<string, SessionState>()
    for (const machine of this.machines) {
      if (!machine.running) continue
      const core = coreOf(machine.node.endpoint)
      checkFlight(machine, core)
      for (const connection of core.sessions) {
        if (connection === undefined || connection.state.phase !== 'open') continue
        const { sidSelf, sidPeer } = connection.state
        if (sidPeer !== undefined) sessions.set(`${toHex(sidSelf)} ${toHex(sidPeer)}`, connection.state)
      }
    }
    for (const [name, state] of sessions) {
      const peer = sessions.get(name.split(' ').reverse().join(' '))
      if (peer !== undefined) checkPair(state, peer)
    }
  }

  #unfinished(): string {
    return this.conversations.filter(({ done }) => !done).map(({ index, plan, incarnations }) => {
      const last = incarnations.at(-1)
      const streams = last === undefined ? [] : [last.opener, last.acceptor].map(({ state, outgoing, left, blocked, broken }) =>
        `${state}${blocked ? ' blocked' : ''}${broken ? ' broken' : ''}, ${left} to say, ${outgoing.received} of ${outgoing.sent.length} came`)
      return `conversation ${index} (${plan.mode}, ${plan.from} → ${plan.to}, channel ${incarnations.length}): ${streams.join(' | ')}`
    }).concat(this.machines.map(({ index, sides }) => `machine ${index} has ${sides.size} channels`)).join('; ')
  }

  #collect(): void {
    const { totals } = this
    totals.sealed = this.#book.sealed
    for (const machine of this.machines) {
      const counters = machine.node.endpoint.counters()
      totals.datagrams += counters['datagrams_sent']!
      totals.lost += counters['packets_lost']!
      totals.retransmitted += counters['frames_retransmitted']!
      totals.handshakes += counters['handshakes_completed']!
      totals.noRoom += counters['drop_no_room']!
      totals.consumersGone += counters['consumers_gone']!
      for (const name of Object.keys(counters)) this.note(counters[name]!)
    }
  }
}

function streamsOf({ mode, telling }: ConversationPlan): (number: number) => Stream {
  return (number) => telling === undefined ? new Stream(number, mode === 'reliable-ordered') : new ToldStream(number, mode)
}

/** Everything may happen; paths come and go and one of them always works; every delivery mode; Bluetooth beside the network, or alone. */
export type WorldKind = 'wild' | 'paths' | 'modes' | 'radio'

const kinds: Readonly<Record<WorldKind, (seed: number) => WorldPlan>> = { wild: planOf, paths: pathPlanOf, modes: modesPlanOf, radio: radioPlanOf }

/** Runs one world. A failure names the seed, when it happened, and how to see it again. */
export function runWorld(seed: number, kind: WorldKind = 'wild'): { readonly totals: Totals; readonly moves: World['moves']; readonly fingerprint: number } {
  const world = new World(kinds[kind](seed))
  try {
    const totals = world.run()
    return { totals, moves: world.moves, fingerprint: world.fingerprint }
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : String(cause)
    const replay = `npm run test:world -- --seed ${seed} ${kind === 'wild' ? 'world' : kind}.test`
    const failure = new WorldFailure(`seed ${seed}, ${(world.scheduler.now / SECOND).toFixed(6)} s: ${message}\n  replay: ${replay}`, { cause })
    failure.story = world.story
    throw failure
  }
}
