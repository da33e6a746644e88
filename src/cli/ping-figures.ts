import type { PingSummary } from './results.ts'
import { millisecondsText, percentText } from './text.ts'

/** What is known of a run of pings, in a few numbers however long it goes on. */
export class PingFigures {
  #sent = 0
  #answered = 0
  #lost = 0
  #last = NaN
  #min = Infinity
  #max = 0
  #sum = 0
  #steps = 0

  get sent(): number {
    return this.#sent
  }

  get answered(): number {
    return this.#answered
  }

  /** The number of the ping that goes out now, from 1. */
  send(): number {
    return ++this.#sent
  }

  answer(rttMs: number): void {
    if (this.#answered > 0) this.#steps += Math.abs(rttMs - this.#last)
    this.#answered++
    this.#last = rttMs
    this.#sum += rttMs
    this.#min = Math.min(this.#min, rttMs)
    this.#max = Math.max(this.#max, rttMs)
  }

  lose(): void {
    this.#lost++
  }

  /** It was not waited for: neither answered nor lost. */
  forget(): void {
    this.#sent--
  }

  summary(peer: string, elapsedMs: number): PingSummary {
    const jitter = this.#jitter()
    return {
      kind: 'summary', peer, sent: this.#sent, answered: this.#answered, loss: this.#sent === 0 ? 0 : 1 - this.#answered / this.#sent, elapsedMs: Math.round(elapsedMs),
      ...(this.#answered === 0 ? {} : { minMs: this.#min, avgMs: this.#sum / this.#answered, maxMs: this.#max }),
      ...(jitter === undefined ? {} : { jitterMs: jitter }),
    }
  }

  /** The line that is written over and over while pings are under way. Loss is that of the pings whose fate is known. */
  liveText(label: string, path: string): string {
    const known = this.#answered + this.#lost
    const jitter = this.#jitter()
    const times = this.#answered === 0 ? ['waiting for an answer'] : [
      `last ${millisecondsText(this.#last)}`, `min ${millisecondsText(this.#min)}`, `avg ${millisecondsText(this.#sum / this.#answered)}`, `max ${millisecondsText(this.#max)} ms`,
      ...(jitter === undefined ? [] : [`jitter ${millisecondsText(jitter)}`]),
    ]
    return [label, ...(path === '' ? [] : [path]), ...times, `loss ${percentText(known === 0 ? 0 : this.#lost / known)} of ${known}`].join('  ')
  }

  #jitter(): number | undefined {
    return this.#answered < 2 ? undefined : this.#steps / (this.#answered - 1)
  }
}

/** What ping(8) says at its end. */
export function summaryText(label: string, summary: PingSummary): string {
  const { sent, answered, loss, elapsedMs, minMs, avgMs, maxMs, jitterMs } = summary
  const lines = [`--- ${label} ---`, `${sent} sent, ${answered} answered, ${percentText(loss)} lost, ${(elapsedMs / 1000).toFixed(1)} s`]
  if (minMs !== undefined && avgMs !== undefined && maxMs !== undefined) {
    const figures = [['min', minMs], ['avg', avgMs], ['max', maxMs], ...(jitterMs === undefined ? [] : [['jitter', jitterMs] as const])] as const
    lines.push(`round trip ${figures.map(([name]) => name).join('/')} = ${figures.map(([, value]) => millisecondsText(value)).join('/')} ms`)
  }
  return lines.join('\n')
}
