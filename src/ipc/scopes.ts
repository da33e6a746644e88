import { ipcMethodScopes, type IpcCall, type IpcScope } from '../core/wire/ipc-methods.ts'

/** The scope that a call needs and the client has not; `undefined` when it may be made. */
export function missingScope(scopes: readonly IpcScope[], method: IpcCall, request: object): IpcScope | undefined {
  const needed = ipcMethodScopes[method]
  if (needed === 'none') return undefined
  if (needed !== 'app') return scopes.includes(needed) ? undefined : needed
  const app = 'app' in request && typeof request.app === 'string' ? request.app : undefined
  if (scopes.includes('app:*')) return undefined
  // Without a name in the call, any app will do: such a call concerns channels, which are the client's own.
  if (app === undefined) return scopes.some((scope) => scope.startsWith('app:')) ? undefined : 'app:*'
  return scopes.includes(`app:${app}`) ? undefined : `app:${app}`
}
