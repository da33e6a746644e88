import { never } from '../../core/base/time.ts'
import { defaultConfig, type CoreConfig } from '../../core/connection/config.ts'
import type { Config } from './config-schema.ts'

/** What the core is told of the configuration. What is not in the file (the base datagram size) stays the core's own. `ble`: asked each time, since adapters come and go. */
export function coreConfigOf(config: Config, ble: () => boolean = () => false): CoreConfig {
  const { access, limits, path, session, stun, tcp, transport, udp } = config
  return {
    ...defaultConfig,
    maxData: limits.sessionWindow,
    maxChannelData: limits.channelWindow,
    maxMessage: limits.message,
    maxChannels: limits.channels,
    maxAckDelay: session.ackDelay,
    idleKeep: session.idle,
    queueMessages: limits.queueMessages,
    queueBytes: limits.queueBytes,
    rekeyAfter: session.rekey,
    rejectAfter: session.reject,
    cleanRekeyAfter: session.clean,
    cleanWipeAfter: session.wipe,
    keyLifeMax: session.keyLife,
    attemptTime: session.attempt,
    giveUpAfter: session.giveUp,
    quietFirst: session.quietFirst,
    quietMax: session.quietMax,
    keepAlive: session.keepalive,
    pathGoneAfter: session.pathGone,
    channelDecisionTime: session.channelDecision,
    channelDrainTime: session.channelDrain,
    handshakeShare: limits.handshakeCpuShare,
    admitStrangers: access.strangers,
    acceptXx: access.acceptXx,
    congestion: transport.congestion,
    tcpAfter: tcp.enabled ? tcp.after : never,
    get ble() { return ble() },
    pathPolicy: path,
    stunRefresh: stun.refresh,
    guessPorts: udp.guessPorts,
  }
}
