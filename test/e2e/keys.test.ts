import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { connect } from '../../src/client/client.ts'
import { TestDaemon, until } from './support/daemon.ts'
import { posternJson, run } from './support/program.ts'
import { TemporaryDirectory } from './support/temporary.ts'

const PEER = `${'a'.repeat(51)}q`

describe('API keys of a daemon', () => {
  it('are made, used, listed and revoked; without one a program may do what uid_scopes says', async () => {
    using temporary = new TemporaryDirectory()
    await using daemon = await TestDaemon.start(temporary.join('d'))
    const { id, key } = await posternJson(daemon.dir, 'keys', 'create', '--scope', 'app:dice', '--name', 'the game') as { readonly id: string; readonly key: string }
    const status = await posternJson(daemon.dir, 'keys', 'create', '--scope', 'status', 'admin') as { readonly id: string; readonly key: string }
    expect(await posternJson(daemon.dir, 'keys', 'list')).toMatchObject({ keys: [{ id, name: 'the game', scopes: ['app:dice'] }, { id: status.id, scopes: ['status', 'admin'] }] })

    const game = await daemon.client({ key })
    expect(game.daemon.scopes).toEqual(['app:dice'])
    await game.listen('dice')
    await expect(game.listen('chess')).rejects.toMatchObject({ code: 'scope', details: { scope: 'app:chess' } })
    await expect(game.openChannel(PEER, { app: 'chess' })).rejects.toMatchObject({ code: 'scope' })
    await expect(game.status()).rejects.toMatchObject({ code: 'scope', details: { scope: 'status' } })
    await expect(game.invites.create()).rejects.toMatchObject({ code: 'scope', details: { scope: 'admin' } })
    await expect(game.keys.create({ scopes: ['admin'] })).rejects.toMatchObject({ code: 'scope' })
    await expect(connect({ dir: daemon.dir, key: `${key}x` })).rejects.toMatchObject({ code: 'auth' })

    // Kept over a restart, and not as text.
    await daemon.stop()
    for (const file of ['state.sealed', 'state.key']) expect(readFileSync(join(daemon.dir, 'state', file)).includes(key.slice(3))).toBe(false)
    await daemon.again()
    await until(() => game.state === 'connected')
    expect(game.daemon.scopes).toEqual(['app:dice'])

    expect(await posternJson(daemon.dir, 'keys', 'revoke', id)).toEqual({ revoked: id })
    await until(() => game.state === 'closed', 'the client with the revoked key to be cut off')
    await expect(connect({ dir: daemon.dir, key })).rejects.toMatchObject({ code: 'auth' })
    expect((await run('postern', ['--dir', daemon.dir, 'keys', 'revoke', id])).status).not.toBe(0)
    expect((await run('postern', ['--dir', daemon.dir, 'keys', 'create'])).err).toMatch(/--scope/)
  })

  it('are all there is where uid_scopes is empty', async () => {
    using temporary = new TemporaryDirectory()
    await using daemon = await TestDaemon.start(temporary.join('d'))
    const { key } = await (await daemon.client()).keys.create({ scopes: ['admin', 'status'] })
    await daemon.stop()
    await using narrow = await TestDaemon.start(daemon.dir, { args: ['--set', 'ipc.uid_scopes=[]'] })
    const plain = await narrow.client()
    expect(plain.daemon.scopes).toEqual([])
    await expect(plain.status()).rejects.toMatchObject({ code: 'scope' })
    expect((await run('postern', ['--dir', narrow.dir, 'keys', 'list'])).status).not.toBe(0)
    const listed = await run('postern', ['--dir', narrow.dir, '--json', 'keys', 'list'], { env: { POSTERN_KEY: key } })
    expect(JSON.parse(listed.out)).toMatchObject({ keys: [{ scopes: ['admin', 'status'] }] })
  })
})
