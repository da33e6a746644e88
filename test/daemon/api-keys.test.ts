import { describe, expect, it } from 'vitest'
import { ApiKeys, API_KEYS_MAX } from '../../src/daemon/api-keys.ts'
import { MemoryStore } from '../../src/store/memory-store.ts'

const wanted = { name: 'dice', scopes: ['app:dice', 'status', 'app:dice'] }

describe('API keys', () => {
  it('grant what they were made for, also after a restart, and nothing once revoked', async () => {
    const store = new MemoryStore()
    const keys = await ApiKeys.load(store)
    const { id, key } = await keys.create(wanted)
    expect(key).toMatch(/^pk_[\w-]{43}$/)
    expect(keys.grantOf(key)).toEqual({ key: id, scopes: ['app:dice', 'status'] })
    const again = await ApiKeys.load(store)
    expect(again.grantOf(key)).toEqual({ key: id, scopes: ['app:dice', 'status'] })
    expect(again.list()).toMatchObject({ keys: [{ id, name: 'dice', scopes: ['app:dice', 'status'], createdAt: expect.any(Number) as number }] })
    await again.revoke(id)
    expect(again.grantOf(key)).toBeUndefined()
    expect((await ApiKeys.load(store)).grantOf(key)).toBeUndefined()
    await expect(again.revoke(id)).rejects.toMatchObject({ code: 'params' })
  })

  it('are not in the store, nor derivable from their ids', async () => {
    const store = new MemoryStore()
    const { key, id } = await (await ApiKeys.load(store)).create(wanted)
    for await (const entry of store.scan('')) {
      const text = Buffer.from(entry.value).toString()
      expect(text).toContain(id)
      expect(text).not.toContain(key.slice(3))
      expect(text).not.toContain(Buffer.from(key.slice(3), 'base64url').toString('hex'))
    }
  })

  it('are compared whole', async () => {
    const keys = await ApiKeys.load(new MemoryStore())
    const { key, id } = await keys.create(wanted)
    for (const wrong of ['', 'pk_', key.slice(0, -1), `${key}A`, key.toUpperCase(), id, key.slice(3)]) expect(keys.grantOf(wrong)).toBeUndefined()
  })

  it('are bounded, and have scopes', async () => {
    const keys = await ApiKeys.load(new MemoryStore())
    await expect(keys.create({ name: undefined, scopes: [] })).rejects.toMatchObject({ code: 'params' })
    await Promise.all(Array.from({ length: API_KEYS_MAX }, () => keys.create(wanted)))
    await expect(keys.create(wanted)).rejects.toMatchObject({ code: 'limit' })
    await keys.revoke(keys.list().keys[0]!.id)
    await keys.create(wanted)
  })

  it('that could not be written are none', async () => {
    const store = new MemoryStore()
    const keys = await ApiKeys.load(store)
    await store.close()
    await expect(keys.create(wanted)).rejects.toMatchObject({ code: 'closed' })
    expect(keys.list().keys).toEqual([])
  })
})
