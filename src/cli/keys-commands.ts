import { ago, safeLine, table } from './text.ts'
import type { Globals, Output } from './output.ts'
import { withClient } from './session.ts'

export interface KeyOptions {
  readonly scope: readonly string[]
  readonly name?: string
}

export async function createKey(globals: Globals, options: KeyOptions, output: Output): Promise<void> {
  const { scope: scopes, name } = options
  const created = await withClient(globals, (client) => client.keys.create({ scopes, ...(name === undefined ? {} : { name }) }))
  output.result('keys-create', created, () => [
    created.key,
    '',
    `This is the only time it is shown. With it a program may: ${scopes.join(', ')}.`,
    `To take it back: postern keys revoke ${created.id}`,
  ].join('\n'))
}

export async function listKeys(globals: Globals, output: Output): Promise<void> {
  const keys = await withClient(globals, (client) => client.keys.list())
  output.result('keys-list', { keys }, () => (keys.length === 0 ? 'There are no API keys. Make one: postern keys create --scope app:<name>' : table([
    ['KEY', 'NAME', 'SCOPES', 'AGE'],
    ...keys.map((key) => [key.id, safeLine(key.name ?? '-'), key.scopes.join(' '), ago(Date.now() - key.createdAt)]),
  ])))
}

export async function revokeKey(globals: Globals, id: string, output: Output): Promise<void> {
  await withClient(globals, (client) => client.keys.revoke(id))
  output.result('keys-revoke', { revoked: id }, () => `The key ${id} is revoked, and whoever came with it is cut off.`)
}
