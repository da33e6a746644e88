import { PosternError } from '../core/base/errors.ts'
import { fromUtf8, utf8 } from '../core/base/bytes.ts'
import type { IncomingChannel, MessageFate } from '../client/client.ts'
import { parseAppName, parseCount, parseInterval, parseMode } from './arguments.ts'
import type { Globals, Output } from './output.ts'
import { interruption, resolvePeer, withClient } from './session.ts'
import { safeLine, safeText } from './text.ts'

/** App of `send` and `listen` when none is named. */
export const TEXT_APP = 'postern/text'

export interface SendCommandOptions {
  readonly app?: string
  readonly mode?: string
  readonly ttl?: string
}

/** Sends one message and waits until the peer's daemon has it, or it is known that it never will. */
export async function send(globals: Globals, who: string, text: string, options: SendCommandOptions, output: Output): Promise<void> {
  const app = parseAppName(options.app ?? TEXT_APP, '--app')
  const mode = parseMode(options.mode ?? 'reliable-ordered', '--mode')
  const ttlMs = options.ttl === undefined ? 0 : Math.ceil(parseInterval(options.ttl, '--ttl'))
  await withClient(globals, async (client) => {
    const peer = await resolvePeer(client, who)
    const channel = await client.openChannel(peer, { app, mode })
    const bytes = utf8(text)
    const fate = await channel.sendConfirmed(bytes, { ttlMs })
    await channel.close()
    if (fate.outcome !== 'delivered') throw notDelivered(fate, options.ttl)
    output.result('send', { peer, app, bytes: bytes.length, mode, outcome: fate.outcome }, () => `Sent ${bytes.length} bytes to ${app} of ${peer.slice(0, 8)}.`)
  })
}

function notDelivered(fate: Exclude<MessageFate, { readonly outcome: 'delivered' }>, ttl: string | undefined): PosternError {
  if (fate.outcome === 'unknown') return new PosternError('disconnected', 'The channel ended before it was known whether the message arrived.')
  if (fate.reason === 'deadline') return new PosternError('timeout', `The message could not be sent within ${ttl ?? 'its time'}, and was dropped.`, { hint: 'Give it more time, or leave --ttl out.' })
  if (fate.reason === 'none') return new PosternError('timeout', 'The message was lost on its way, and this mode does not send again.', { hint: 'Send it by --mode reliable-ordered.' })
  return new PosternError('unreachable', `The message was dropped (${fate.reason}).`, { hint: 'Look at: postern peers' })
}

/** Prints what peers send to an app, a line each, until Ctrl-C (or `--count` messages). */
export async function listen(globals: Globals, options: { readonly app?: string; readonly count?: string }, output: Output): Promise<void> {
  const app = parseAppName(options.app ?? TEXT_APP, '--app')
  const left = { count: options.count === undefined ? Infinity : parseCount(options.count, '--count') }
  const signal = interruption()
  await withClient(globals, async (client) => {
    const listener = await client.listen(app)
    output.progress(`listening for ${app}; Ctrl-C ends it`)
    const stop = new AbortController()
    signal.addEventListener('abort', () => stop.abort(), { once: true })
    const ended = new Promise<void>((resolve) => stop.signal.addEventListener('abort', () => resolve(), { once: true }))
    const reading = (async () => {
      for await (const incoming of listener) {
        print(incoming, left, stop, output).catch((error: unknown) => {
          // A channel that ends is not the end of listening; when we stop ourselves it is no news.
          if (!stop.signal.aborted && error instanceof PosternError) output.progress(`${incoming.peer.slice(0, 8)}: ${safeLine(error.message)} [${error.code}]`)
        })
      }
    })()
    await Promise.race([ended, reading])
    await listener.close()
  })
}

async function print(incoming: IncomingChannel, left: { count: number }, stop: AbortController, output: Output): Promise<void> {
  const channel = await incoming.accept()
  for await (const message of channel) {
    const text = fromUtf8(message.bytes)
    output.result('listen', { peer: channel.peer, app: channel.app, ...(text === undefined ? { base64: Buffer.from(message.bytes).toString('base64') } : { text }) }, () =>
      `${channel.peer.slice(0, 8)}: ${text === undefined ? `(${message.bytes.length} bytes)` : safeText(text)}`)
    left.count--
    if (left.count <= 0) stop.abort()
  }
}
