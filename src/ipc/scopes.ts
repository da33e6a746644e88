import { ipcMethodScopes, type IpcCall, type IpcScope } from '../core/wire/ipc/ipc-methods.ts'
import { ipcTopicScopes, type IpcTopic } from '../core/wire/ipc/ipc-subscribe.ts'

/** The scope that a call needs and the client has not; `undefined` when it may be made. */
export function missingScope(scopes: readonly IpcScope[], method: IpcCall, request: object): IpcScope | undefined {
  const needed = ipcMethodScopes[method]
  if (needed === 'none') return undefined
  if (needed === 'topic') return missingTopicScope(scopes, (request as { readonly topics: readonly IpcTopic[] }).topics)
  if (needed !== 'app') return scopes.includes(needed) ? undefined : needed
  const app = 'app' in request && typeof request.app === 'string' ? request.app : undefined
  if (scopes.includes('app:*')) return undefined
  // Without a name in the call, any app will do: such a call concerns channels, which are the client's own.
  if (app === undefined) return scopes.some((scope) => scope.startsWith('app:')) ? undefined : 'app:*'
  return scopes.includes(`app:${app}`) ? undefined : `app:${app}`
}

function missingTopicScope(scopes: readonly IpcScope[], topics: readonly IpcTopic[]): IpcScope | undefined {
  for (const topic of topics) {
    const needed = ipcTopicScopes[topic]
    // Whoever may ask for all figures may hear of all apps; an app's own key hears of that app, which the handler sees to.
    if (scopes.includes(needed === 'app' ? 'status' : needed)) continue
    if (needed !== 'app') return needed
    if (!scopes.some((scope) => scope.startsWith('app:'))) return 'status'
  }
  return undefined
}

/** Whether a client may hear of channels of this app. */
export function mayHearOf(scopes: readonly IpcScope[], app: string): boolean {
  return scopes.includes('status') || scopes.includes('app:*') || scopes.includes(`app:${app}`)
}
