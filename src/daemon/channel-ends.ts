import { PosternError } from '../core/base/errors.ts'
import { channelEndCode, type ChannelEnd } from '../core/wire/ipc/ipc-methods.ts'
import { channelCodes } from '../core/wire/frame.ts'

/** Why a channel ended, in the words of clients. */
export function endOf(event: { readonly code: number; readonly reason: string; readonly by: 'peer' | 'local' | 'session' }): ChannelEnd {
  if (event.by === 'session') {
    // The session ended and took the channel along: its reason word is the code, as far as clients know it.
    const code = event.reason === 'peer_restarted' || event.reason === 'replaced' ? 'reset' : event.reason === 'idle' || event.reason === 'timeout' ? 'unreachable' : 'closed'
    return { code, reason: event.reason, by: 'daemon' }
  }
  // No app closes with this code: the daemon closed it, because it is shutting down.
  if (event.by === 'local' && event.code === channelCodes.app_gone) return { code: 'closed', reason: event.reason, by: 'daemon' }
  return { ...channelEndCode(event.code), reason: event.reason, by: event.by }
}

/** What opening it failed with. */
export function openError(end: ChannelEnd): PosternError {
  const reason = end.reason === '' ? '' : ` (${end.reason})`
  switch (end.code) {
    case 'no_app':
      return new PosternError('no_app', 'No program on the other side listens for this app.', { hint: 'Start it there: it must call listen with the same app name.' })
    case 'refused':
      return new PosternError('refused', `The other side refused the channel${reason}.`)
    case 'limit':
      return new PosternError('limit', `The other side has as many channels as it may have${reason}.`, { details: { limit: 'channels' } })
    case 'timeout':
      return new PosternError('timeout', 'The program on the other side did not answer in time.')
    default:
      return new PosternError('unreachable', `The channel ended before it was open${reason}.`)
  }
}
