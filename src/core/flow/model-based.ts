import { millisecond, type Duration, type Instant } from '../base/time.ts'
import { initialWindow } from './cubic.ts'
import { ModelBounds } from './model-based-bounds.ts'
import { LossJudge } from './model-based-loss.ts'
import { PathModel } from './model-based-path.ts'
import { FullPipe, ProbeCycle } from './model-based-probe-rate.ts'
import { PROBE_RTT_GAIN, ProbeRtt, ProbeRttSchedule } from './model-based-probe-rtt.ts'
import type { AckSample, CongestionController, LossSample } from './congestion.ts'

/** BBR.StartupPacingGain, 4 ln 2: the rate doubles each round. BBR.PacingMarginPercent as a factor. */
const STARTUP_GAIN = 2.77
const PACING_MARGIN = 0.99
/** BBR.MinPipeCwnd in datagrams; WIRE.md §6 allows no less than two after persistent congestion. */
const PIPE_MIN = 4
const WINDOW_MIN = 2
/** Rounds in Drain at most. */
const DRAIN_ROUNDS = 3
/** BBRStartupFullLossCnt, and the loss that ends Startup though no queue shows (a policer, a shallow buffer). */
const STARTUP_LOSSES = 6
const STARTUP_LOSS_SHARE = 0.15
/** Rounds in which Down may drain the queue of the probe before it is taken for one that stays. */
const DOWN_ROUNDS = 3
/** A probe that has raised the round trip by this share of the minimum, plus noise, and the rate by less than that factor, is over. */
const UP_QUEUE = 0.25
const UP_QUEUE_NOISE: Duration = millisecond
const UP_GROWTH = 1.125
/** BBR.send_quantum. */
const QUANTUM_TIME: Duration = millisecond
const QUANTUM_MAX = 65_536

/**
 * Startup ─full─► Drain ─empty─► Down ─► Cruise ─time─► Refill ─round─► Up ─full, queue, loss─► Down …
 * Any of them ─minimum stale, or a queue that stays─► ProbeRTT ─► Cruise (Startup, if the pipe was never full)
 */
type State =
  | { readonly kind: 'startup' | 'down' | 'cruise' | 'refill' }
  | { readonly kind: 'drain'; readonly untilRound: number }
  | { readonly kind: 'up'; readonly round: number; readonly rtt: Duration; readonly rate: number }
  | { readonly kind: 'probe-rtt'; readonly probe: ProbeRtt }

const PACING_GAIN = { startup: STARTUP_GAIN, drain: 0.5, down: 0.9, cruise: 1, refill: 1, up: 1.25, 'probe-rtt': PROBE_RTT_GAIN } as const
const WINDOW_GAIN = { startup: 2, drain: 2, down: 2, cruise: 2, refill: 2, up: 2.25, 'probe-rtt': 2 } as const

/**
 * Model-based congestion control in the manner of BBR version 3 (draft-ietf-ccwg-bbr): it paces at the greatest rate the path was
 * seen to deliver and bounds what is in flight by that rate and the least round trip, so that neither random loss nor a deep
 * buffer governs it. Deviations for games, each with its price, in docs/decisions.
 */
export class ModelBased implements CongestionController {
  readonly name = 'model-based'
  window: number
  /** Undefined until the first round trip is known. */
  pacingRate: number | undefined = undefined
  sendQuantum: number
  readonly model: PathModel = new PathModel()
  readonly bounds: ModelBounds = new ModelBounds()
  readonly losses: LossJudge = new LossJudge()
  readonly #pipe = new FullPipe()
  #state: State = { kind: 'startup' }
  #datagram: number
  #inFlight = 0
  #windowLimited = false
  #windowLimitedLast = false
  #idleRestart = false
  #startupLosses = 0

  /** BBR.is_bw_probe_sample, and that the probe is over but its last samples are not in. */
  #probeSamples = false
  #probeEnding = false
  #probeTooHigh = false
  readonly #cycle: ProbeCycle
  readonly #schedule = new ProbeRttSchedule()

  /** @param seed any number, another for each path: see {@link ProbeCycle} */
  constructor(datagramSize: number, seed: number) {
    this.#datagram = datagramSize
    this.#cycle = new ProbeCycle(seed)
    this.window = initialWindow(datagramSize)
    this.sendQuantum = 2 * datagramSize
  }

  get state(): State['kind'] {
    return this.#state.kind
  }

  /** BBR.bw: bytes per microsecond that the path is believed to deliver. */
  get rate(): number {
    return Math.min(this.model.maxRate, this.bounds.rateShort)
  }

  onSent(now: Instant, bytes: number, inFlight: number): void {
    if (inFlight <= 0) {
      // "HandleRestartFromIdle": the pipe is empty, and is filled again at just its rate.
      this.#idleRestart = true
      this.model.restartExtraAcked(now)
      if (this.#cycling && this.model.maxRate > 0) this.pacingRate = PACING_MARGIN * this.rate
    }
    if (inFlight + bytes > this.window - this.#datagram) this.#windowLimited = true
  }

  onAcked(sample: AckSample): void {
    const model = this.model
    const appLimited = sample.appLimited || this.#state.kind === 'probe-rtt'
    this.#inFlight = sample.inFlight - sample.bytes
    model.update(sample, this.rate, this.window, appLimited)
    if (model.roundStart) this.#onRound(appLimited)
    this.#advance(sample, appLimited)
    this.#checkProbeRtt(sample)
    this.#idleRestart = false
    model.finish(sample, appLimited)
    if (model.roundStart) {
      this.#windowLimitedLast = this.#windowLimited
      this.#windowLimited = false
    }
    this.#setPacing()
    this.#setWindow(sample)
  }

  onPacketLost(loss: LossSample): void {
    this.bounds.onPacketLost(loss.bytes, this.model.roundLost === 0)
    this.model.roundLost += loss.bytes
    this.#startupLosses++
    // "HandleLostPacket": the packet's own moment says how much was too much.
    if (!this.#probeSamples || !this.#tooMuch(loss.lost, loss.txInFlight, this.model.queueNow)) return
    this.#probeTooHigh = true
    this.#probeSamples = false
    this.bounds.onTooHigh(loss.txInFlight - loss.bytes, this.#target)
    if (this.#state.kind === 'up') this.#startDown(loss.now)
  }

  onLost(_now: Instant, _bytes: number, _sentAt: Instant, persistent: boolean): void {
    if (persistent) this.window = WINDOW_MIN * this.#datagram
  }

  onSpuriousLoss(_now: Instant, bytes: number): void {
    this.model.roundLost = Math.max(0, this.model.roundLost - bytes)
    this.bounds.onSpurious(bytes)
  }

  setDatagramSize(bytes: number): void {
    this.#datagram = bytes
    this.window = Math.max(this.window, PIPE_MIN * bytes)
  }

  // Rounds

  /** A round has ended: what was lost in it, and whether it saw a queue, is judged once. */
  #onRound(appLimited: boolean): void {
    const model = this.model
    const bounds = this.bounds
    this.#cycle.rounds++
    const kind = this.#state.kind
    const accelerating = kind === 'startup' || kind === 'refill' || kind === 'up'
    const queue = model.queueLastRound
    const ownQueue = queue && !model.roundAppLimited
    const lost = model.roundLost
    const sent = lost + model.roundAcked
    if (!queue && (!accelerating || appLimited)) this.losses.addQuietRound(lost / this.#datagram, model.roundAcked / this.#datagram)
    if (!accelerating && lost > 0 && this.#tooMuch(lost, sent, ownQueue)) {
      bounds.onLossRound(model.rateLatest, model.deliveredLatest, model.maxRate, this.window)
    }
    if (ownQueue && (kind === 'cruise' || (kind === 'down' && this.#cycle.rounds > DOWN_ROUNDS))) bounds.onQueueRound(model.rateLatest, model.maxRate)
    this.#schedule.onRound(ownQueue && this.#cycling)
    if (kind === 'startup' && this.#startupLosses >= STARTUP_LOSSES && this.#tooMuch(lost, sent, queue) && (queue || lost > STARTUP_LOSS_SHARE * sent)) {
      this.#pipe.reached = true
      bounds.inflightLong = Math.max(this.#bdp(1), model.deliveredLatest)
    }
    this.#startupLosses = 0
    if (!appLimited) this.#pipe.onRound(model.rateLatest, queue)
  }

  #tooMuch(lost: number, sent: number, queue: boolean): boolean {
    return this.losses.tooMuch(lost / this.#datagram, sent / this.#datagram, queue)
  }

  // States

  /** In one of the ProbeBW states. */
  get #cycling(): boolean {
    const kind = this.#state.kind
    return kind === 'down' || kind === 'cruise' || kind === 'refill' || kind === 'up'
  }

  /** "UpdateProbeBWCyclePhase", with Startup and Drain. */
  #advance(sample: AckSample, appLimited: boolean): void {
    const model = this.model
    const state = this.#state
    if (this.#probeEnding && model.roundStart) this.#endProbe(appLimited)
    if (this.#pipe.reached) this.#raiseLong(sample)
    switch (state.kind) {
      case 'startup':
        if (this.#pipe.reached) this.#state = { kind: 'drain', untilRound: model.rounds + DRAIN_ROUNDS }
        break
      case 'drain':
        if (this.#inFlight <= this.#inflight(this.rate) || model.rounds > state.untilRound) this.#startDown(sample.now, sample)
        break
      case 'down':
      case 'cruise':
        if (this.#cycle.isDue(sample.now, this.#target / this.#datagram)) this.#startRefill(sample)
        else if (state.kind === 'down' && this.#inFlight <= Math.min(this.#withHeadroom, this.#inflight(model.maxRate))) this.#state = { kind: 'cruise' }
        break
      case 'refill':
        if (model.roundStart) this.#startUp(sample)
        break
      case 'up':
        if (this.#timeToGoDown(sample, state.round, state.rtt, state.rate)) {
          this.#probeTooHigh = false
          this.#startDown(sample.now, sample)
        }
        break
      case 'probe-rtt':
        break
    }
  }

  /** The last samples of a probe are in. */
  #endProbe(appLimited: boolean): void {
    this.#probeEnding = false
    this.#probeSamples = false
    if (this.#cycling && !appLimited) this.model.bandwidth.advance()
  }

  #startDown(now: Instant, sample?: AckSample): void {
    this.model.resetSignals()
    this.#cycle.restart(now)
    this.#probeEnding = true
    if (sample !== undefined) this.model.startRound(sample.deliveredTotal)
    this.#state = { kind: 'down' }
  }

  #startRefill(sample: AckSample): void {
    this.bounds.beginRefill()
    this.model.startRound(sample.deliveredTotal)
    this.#state = { kind: 'refill' }
  }

  #startUp(sample: AckSample): void {
    const model = this.model
    this.#probeSamples = true
    model.startRound(sample.deliveredTotal)
    this.#pipe.restart(sample.deliveryRate)
    this.bounds.raiseSlope(this.window, this.#datagram)
    this.#state = { kind: 'up', round: model.rounds, rtt: model.lastRoundRtt, rate: model.maxRate }
  }

  /** "IsTimeToGoDown"; and when the probe has made a queue, sooner than the draft's three rounds of it. */
  #timeToGoDown(sample: AckSample, round: number, rtt: Duration, rate: number): boolean {
    const model = this.model
    const long = this.bounds.inflightLong
    if (this.#probeTooHigh && this.#inFlight >= long) return true
    if (this.#heldByWindow && this.window >= long) this.#pipe.restart(sample.deliveryRate)
    else if (this.#pipe.now) return true
    return model.rounds > round && model.rttLatest > rtt + UP_QUEUE * model.roundTrip + UP_QUEUE_NOISE && model.maxRate < UP_GROWTH * rate
  }

  /** C.is_cwnd_limited. */
  get #heldByWindow(): boolean {
    return this.#windowLimited || this.#windowLimitedLast
  }

  /** The raising half of "AdaptLongTermModel". */
  #raiseLong(sample: AckSample): void {
    if (this.#tooMuch(sample.lost, sample.txInFlight, this.model.queueNow)) return
    this.bounds.raiseTo(sample.txInFlight)
    if (this.#state.kind !== 'up' || !this.#heldByWindow || this.window < this.bounds.inflightLong) return
    this.bounds.raiseByAcked(sample.bytes, this.#datagram)
    if (this.model.roundStart) this.bounds.raiseSlope(this.window, this.#datagram)
  }

  // ProbeRTT

  #checkProbeRtt(sample: AckSample): void {
    const model = this.model
    const now = sample.now
    if (this.#state.kind === 'probe-rtt') {
      if (this.#state.probe.onAcked(sample, model, this.#inFlight)) this.#endProbeRtt(sample, this.#state.probe)
      return
    }
    const expired = model.minRttExpired(now)
    if (expired && (sample.appLimited || this.#idleRestart)) {
      // The flow's own gaps have let the path drain: what was seen of late is the minimum, and nothing is held back.
      model.takeMinRtt(now, model.recentMinRtt)
      return
    }
    const pressedRate = this.#cycling ? model.pressedRate(now) : 0
    if (!expired && !this.#schedule.isEarly(now, pressedRate > 0)) return
    const delivered = pressedRate > 0 ? pressedRate : model.rateLatest
    const rate = delivered > 0 ? Math.min(this.rate, delivered) : this.rate
    const probe = new ProbeRtt(now, !expired, pressedRate, rate, model.roundTrip, PIPE_MIN * this.#datagram, this.#inFlight, this.window)
    this.#probeEnding = true
    this.#state = { kind: 'probe-rtt', probe }
  }

  /** "ExitProbeRTT". */
  #endProbeRtt(sample: AckSample, probe: ProbeRtt): void {
    const model = this.model
    const ours = probe.emptied(model.roundTrip)
    this.#schedule.conclude(sample.now, probe, model)
    // A queue that went when we stopped, at a fraction of the rate: the link has become slower, and its old rate is forgotten.
    if (ours && probe.pressedRate > 0) model.bandwidth.reset(probe.pressedRate)
    else this.window = Math.max(this.window, probe.windowBefore)
    this.bounds.resetShort()
    if (!this.#pipe.reached) {
      this.#state = { kind: 'startup' }
      return
    }
    this.#startDown(sample.now, sample)
    this.#state = { kind: 'cruise' }
  }

  // Controls

  /** Bytes that fill the path: rate × least round trip × gain. */
  #bdp(gain: number): number {
    const { roundTrip, maxRate } = this.model
    return roundTrip === Infinity || maxRate === 0 ? initialWindow(this.#datagram) : gain * this.rate * roundTrip
  }

  /** "TargetInflight". */
  get #target(): number {
    return Math.min(this.#bdp(1), this.window)
  }

  /** "Inflight(1.0)". */
  #inflight(rate: number): number {
    return this.#quantized(rate * this.model.roundTrip)
  }

  /** "QuantizationBudget". */
  #quantized(bytes: number): number {
    const least = Math.max(bytes, this.sendQuantum, PIPE_MIN * this.#datagram)
    return this.#state.kind === 'up' ? least + 2 * this.#datagram : least
  }

  get #withHeadroom(): number {
    return this.bounds.withHeadroom(this.#datagram, PIPE_MIN * this.#datagram)
  }

  #setPacing(): void {
    this.pacingRate ??= (STARTUP_GAIN * initialWindow(this.#datagram)) / this.model.rttLatest
    const rate = PACING_GAIN[this.#state.kind] * PACING_MARGIN * Math.min(this.rate, this.bounds.rateQueue)
    if (rate > 0 && (this.#pipe.reached || rate > this.pacingRate)) this.pacingRate = rate
    this.sendQuantum = Math.max(2 * this.#datagram, Math.min(this.pacingRate * QUANTUM_TIME, QUANTUM_MAX))
  }

  /** "SetCwnd" and "BoundCwndForModel": up by what was acknowledged, down at once. */
  #setWindow(sample: AckSample): void {
    const state = this.#state
    const most = this.#quantized(this.#bdp(WINDOW_GAIN[state.kind]) + this.model.extraAcked)
    if (this.#pipe.reached) this.window = Math.min(this.window + sample.bytes, most)
    else if (this.window < most || sample.deliveredTotal < initialWindow(this.#datagram)) this.window += sample.bytes
    let cap = Infinity
    if (state.kind === 'probe-rtt') cap = Math.min(state.probe.room, this.#withHeadroom)
    else if (state.kind === 'cruise') cap = this.#withHeadroom
    else if (this.#cycling) cap = this.bounds.inflightLong
    this.window = Math.max(Math.min(this.window, cap, this.bounds.inflightShort), PIPE_MIN * this.#datagram)
  }
}
