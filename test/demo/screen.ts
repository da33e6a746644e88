import type { DemoOptions } from './options.ts'
import type { Roll } from './dice.ts'
import type { DemoResult } from './result.ts'

export const names = { host: 'ann', guest: 'bob' } as const
const faces = ['⚀', '⚁', '⚂', '⚃', '⚄', '⚅'] as const

/** What the demo shows on the way and at its end; nothing at all on the way with `--json`. */
export class Screen {
  readonly #json: boolean
  readonly #rounds: number
  readonly #score = { host: 0, guest: 0 }

  constructor(options: DemoOptions) {
    this.#json = options.json
    this.#rounds = options.rounds
    const network = `seed ${options.seed}, loses ${percent(options.loss)} and reorders, both ways`
    this.#line(options.ble ? `Postern: a dice duel over Bluetooth LE, without any network; a bad one (${network}) comes in mid-game` : `Postern: a dice duel over a bad network (${network})`)
    this.#line('')
  }

  step(text: string): void {
    this.#line(`  ✓ ${text}`)
  }

  /** Something that happened between two rolls. */
  note(text: string): void {
    this.#line(`\n      ${text}\n`)
  }

  roll(round: number, [host, guest]: Roll): void {
    if (round === 0) this.#line(`\n  ${'round'.padStart(9)}   ${names.host}   ${names.guest}   winner   score`)
    if (host > guest) this.#score.host++
    if (guest > host) this.#score.guest++
    const winner = host > guest ? names.host : guest > host ? names.guest : '–'
    const count = `${round + 1}`.padStart(`${this.#rounds}`.length)
    this.#line(`  ${`${count}/${this.#rounds}`.padStart(9)}   ${faces[host - 1] ?? '?'} ${host}   ${faces[guest - 1] ?? '?'} ${guest}   ${winner.padEnd(6)}   ${this.#score.host} : ${this.#score.guest}`)
  }

  result(result: DemoResult): void {
    if (this.#json) {
      process.stdout.write(`${JSON.stringify(result)}\n`)
      return
    }
    const { rolls, reliable, unreliable, network, postern } = result
    const row = (...cells: readonly string[]): void => this.#line(`  ${cells.map((cell, i) => (i === 0 ? cell.padEnd(20) : cell.padStart(10))).join('')}`)
    this.#line('')
    if (rolls.verified > 0) this.#line(`  ${rolls.verified} rolls, every commitment opened and every roll verified by both: ${names.host} ${rolls.host}, ${names.guest} ${rolls.guest}, ${rolls.draws} even\n`)
    row('channel', 'sent', 'received', 'lost', 'doubled', 'RTT p50', 'p99')
    for (const [name, channel] of [['reliable-ordered', reliable], ['unreliable, 60 Hz', unreliable]] as const) {
      row(name, `${channel.sent}`, `${channel.received}`, `${channel.lost}`, `${channel.doubled}`, `${channel.rttP50Ms.toFixed(1)} ms`, `${channel.rttP99Ms.toFixed(1)} ms`)
    }
    this.#line('')
    this.#line(`  The network took ${network.datagrams} datagrams, lost ${network.lost} (${percent(network.datagrams === 0 ? 0 : network.lost / network.datagrams)}) and let ${network.overtaken} be overtaken.`)
    this.#line(`  Postern counted ${postern.packetsLost} packets as lost and sent ${postern.framesSentAgain} message frames again.`)
    if (result.cut?.toTcpMs !== undefined && result.cut.backMs !== undefined) {
      this.#line(`  UDP was cut in mid-game: on TCP ${result.cut.toTcpMs} ms after the cut, back on UDP ${result.cut.backMs} ms after it was healed.`)
    }
    if (result.ble !== undefined) this.#ble(result.ble, row)
    this.#line('')
    this.#line(result.ok ? `  All well, in ${result.seconds.toFixed(1)} s.` : `  Not well: ${result.problems.join('; ')}.`)
  }

  #ble(ble: NonNullable<DemoResult['ble']>, row: (...cells: readonly string[]) => void): void {
    this.#line('')
    row('round trips by path', '', '', '', 'number', 'RTT p50', 'p99')
    for (const [kind, name] of [['ble', 'Bluetooth'], ['udp', 'UDP']] as const) {
      for (const what of ['reliable', 'unreliable'] as const) {
        const rtt = ble.paths[kind]?.[what]
        if (rtt !== undefined) row(`${name}, ${what}`, '', '', '', `${rtt.count}`, `${rtt.p50Ms.toFixed(1)} ms`, `${rtt.p99Ms.toFixed(1)} ms`)
      }
    }
    if (ble.toUdpMs === undefined || ble.healedAtRound === undefined) return
    this.#line('')
    this.#line(`  Path: Bluetooth → UDP. The network came back after round ${ble.healedAtRound + 1}; on UDP ${ble.toUdpMs} ms later, until then no datagram had come in.`)
  }

  failure(reason: string): void {
    if (this.#json) process.stdout.write(`${JSON.stringify({ ok: false, problems: [reason] })}\n`)
    else process.stderr.write(`\n  The demo failed: ${reason}\n`)
  }

  #line(text: string): void {
    if (!this.#json) process.stdout.write(`${text}\n`)
  }
}

function percent(share: number): string {
  return `${Number((share * 100).toFixed(1))} %`
}
