/**
 * One game client: its own process, connected to the daemon of its machine and to nothing else. The demo starts two of them.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { connect, type Channel, type Client, type MessageView } from 'postern/client'
import type { Roll } from './dice.ts'
import { Duel, FoulPlay } from './duel.ts'
import { Numbers, percentilesOf } from './figures.ts'
import { apps, decodeGameMessage, decodePlace, encodeGameMessage, encodePlace, parseTask, type GameMessage, type GameWord, type PlayerFigures, type PlayerTask, type Report } from './messages.ts'
import { PathWatch } from './path-watch.ts'

const UPDATES_PER_SECOND = 60
/** Round trips of the reliable channel are measured so often. */
const MARKS_PER_SECOND = 20
/** After both have said bye, updates that were held back on the way may still come. */
const LAST_UPDATES_MS = 300

class Game {
  readonly #task: PlayerTask
  readonly #words: Channel
  readonly #places: Channel
  readonly #duel: Duel
  readonly #messages = new Numbers()
  readonly #updates = new Numbers()
  readonly #messageTimes: number[] = []
  readonly #updateTimes: number[] = []
  readonly #paths = new PathWatch()
  /** When each mark that was not answered yet was sent. */
  readonly #marks = new Map<number, number>()
  readonly #stop = new AbortController()
  #saying: Promise<void> = Promise.resolve()
  #said = 0
  #marked = 0
  #placed = 0
  #lastPlace: { readonly sentAt: number; readonly at: number } | undefined
  readonly #greeted: Promise<void>
  #onGreeted: () => void = () => undefined
  #onRoundEnd: () => void = () => undefined
  #byeSaid = false
  #bye: Extract<GameWord, { kind: 'bye' }> | undefined

  constructor(task: PlayerTask, words: Channel, places: Channel) {
    this.#task = task
    this.#words = words
    this.#places = places
    this.#duel = new Duel(task.player, (word) => this.#say(word), (round, roll) => this.#rolled(round, roll))
    this.#greeted = new Promise((resolve) => {
      this.#onGreeted = resolve
    })
  }

  async play(client: Client): Promise<PlayerFigures> {
    if (this.#task.byPath) void this.#paths.watch(client, this.#stop.signal)
    this.#places.onMessage((message) => this.#place(message))
    const listening = this.#listen()
    const ticking = Promise.all([this.#every(UPDATES_PER_SECOND, () => this.#update()), this.#every(MARKS_PER_SECOND, () => this.#mark())])
    const rolling = this.#roll()
    // Whichever fails first ends the game; what goes well ends in this order.
    await Promise.race([rolling, listening.then(() => rolling)])
    this.#stop.abort()
    await ticking
    this.#say({ kind: 'bye', messages: this.#said + 1, updates: this.#placed })
    this.#byeSaid = true
    await this.#saying
    await listening
    await sleep(LAST_UPDATES_MS)
    return await this.#end()
  }

  /** Plays all rounds, one each `paceMs` or as quickly as the line allows. */
  async #roll(): Promise<void> {
    this.#duel.greet()
    await this.#greeted
    for (let round = 0; round < this.#task.rounds; round++) {
      const pause = sleep(this.#task.paceMs)
      const ended = new Promise<void>((resolve) => {
        this.#onRoundEnd = resolve
      })
      this.#duel.begin()
      await ended
      await pause
    }
  }

  #rolled(round: number, roll: Roll): void {
    report({ kind: 'rolled', round, roll })
    this.#onRoundEnd()
  }

  /** Until the other side says bye. */
  async #listen(): Promise<void> {
    while (this.#bye === undefined) {
      const message = await this.#words.receive()
      if (message === undefined) throw new FoulPlay('the other side left in the middle of the game')
      const heard = decodeGameMessage(message.bytes)
      if (heard === undefined) throw new FoulPlay('the other side sent something that is no word of this game')
      this.#messages.note(heard.n)
      this.#hear(heard)
    }
  }

  #hear(word: GameMessage): void {
    switch (word.kind) {
      case 'mark':
        if (!this.#byeSaid) this.#say({ kind: 'echo', id: word.id })
        return
      case 'echo': {
        const sentAt = this.#marks.get(word.id)
        if (sentAt !== undefined) this.#roundTrip('messages', this.#messageTimes, performance.now() - sentAt)
        this.#marks.delete(word.id)
        return
      }
      case 'bye':
        this.#bye = word
        return
      case 'hello':
        this.#duel.hear(word)
        this.#onGreeted()
        return
      case 'commit':
      case 'reveal':
      case 'verdict':
        this.#duel.hear(word)
    }
  }

  /** In order, and with the number that the other side checks. A line that takes no more is waited for. */
  #say(word: GameWord): void {
    const bytes = encodeGameMessage({ ...word, n: this.#said++ })
    this.#saying = this.#saying.then(() => this.#words.send(bytes))
    this.#saying.catch((error: unknown) => this.#stop.abort(error))
  }

  #mark(): void {
    this.#marks.set(this.#marked, performance.now())
    this.#say({ kind: 'mark', id: this.#marked++ })
  }

  /** Round and round the table. */
  #update(): void {
    const now = performance.now()
    const angle = (this.#placed / UPDATES_PER_SECOND) * Math.PI
    const last = this.#lastPlace
    this.#lastPlace = undefined
    const update = encodePlace({
      number: this.#placed, x: Math.cos(angle), y: Math.sin(angle), sentAt: now, echo: last?.sentAt ?? -1, heldMs: last === undefined ? 0 : now - last.at,
    })
    if (this.#places.trySend(update) === 'queued') this.#placed++
  }

  #place(message: MessageView): void {
    const update = decodePlace(message.view())
    if (update === undefined) throw new FoulPlay('the other side sent something that is no place')
    const now = performance.now()
    this.#updates.note(update.number)
    this.#lastPlace = { sentAt: update.sentAt, at: now }
    if (update.echo >= 0) this.#roundTrip('updates', this.#updateTimes, now - update.echo - update.heldMs)
  }

  #roundTrip(what: 'messages' | 'updates', times: number[], rttMs: number): void {
    times.push(rttMs)
    this.#paths.note(what, rttMs)
  }

  /** Does something so often, against drift, until the game ends. */
  async #every(perSecond: number, act: () => void): Promise<void> {
    const { signal } = this.#stop
    const start = performance.now()
    for (let tick = 1; !signal.aborted; tick++) {
      act()
      await sleep(Math.max(1, start + (tick * 1000) / perSecond - performance.now()), undefined, { signal }).catch(() => undefined)
    }
  }

  async #end(): Promise<PlayerFigures> {
    // The guest opened the channels and closes them; the host sees them end.
    if (this.#task.player === 'guest') {
      await this.#words.close()
      await this.#places.close()
    }
    const { code } = await this.#words.closed
    return {
      sentMessages: this.#said, sentUpdates: this.#placed, expectedMessages: this.#bye?.messages ?? 0, expectedUpdates: this.#bye?.updates ?? 0,
      messages: this.#messages.received, updates: this.#updates.received,
      messageRtt: percentilesOf(this.#messageTimes), updateRtt: percentilesOf(this.#updateTimes), ended: code, byPath: this.#paths.byPath,
    }
  }
}

/** The host waits for its guest at two apps; the guest opens a channel to each. */
async function channels(client: Client, task: PlayerTask): Promise<readonly [Channel, Channel]> {
  if (task.player === 'guest') {
    const words = await client.openChannel(task.peer, { app: apps.game, mode: 'reliable-ordered', lane: 'high' })
    const places = await client.openChannel(task.peer, { app: apps.places, mode: 'unreliable', lane: 'critical' })
    return [words, places]
  }
  const game = await client.listen(apps.game, { from: [task.peer] })
  const places = await client.listen(apps.places, { from: [task.peer] })
  report({ kind: 'listening' })
  const accepted: Channel[] = []
  for (const listener of [game, places]) {
    for await (const incoming of listener) {
      accepted.push(await incoming.accept())
      break
    }
  }
  return [accepted[0]!, accepted[1]!]
}

function report(what: Report, then: () => void = () => undefined): void {
  process.send?.(what, then)
}

async function main(): Promise<void> {
  const task = parseTask(process.argv[2])
  // Ctrl-C goes to every process of the terminal; the demo decides what becomes of it. Without the demo there is no game.
  process.on('SIGINT', () => undefined)
  const alone = (): never => process.exit(1)
  process.on('disconnect', alone)
  const client = await connect({ dir: task.dir, name: `dice/${task.player}` })
  const [words, places] = await channels(client, task)
  const figures = await new Game(task, words, places).play(client)
  await client.close()
  process.off('disconnect', alone)
  report({ kind: 'finished', figures }, () => process.disconnect())
}

main().catch((error: unknown) => {
  const reason = error instanceof FoulPlay ? error.message : error instanceof Error ? (error.stack ?? error.message) : String(error)
  report({ kind: 'failed', reason }, () => process.exit(1))
})
