import { createSecretKey, randomBytes } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { readU32, writeU32 } from '../../src/core/base/bytes.ts'
import { KEY_FILE_SIZE } from '../../src/store/key-file.ts'
import { DATA_KEY_SIZE, PASSPHRASE_ATTEMPTS_MAX, PBKDF2_ITERATIONS, PBKDF2_ITERATIONS_MAX, PBKDF2_ITERATIONS_MIN, slotKinds, unwrapDataKey, wrapDataKey, type KeySlot, type KeySource, type PassphraseRequest } from '../../src/store/keys.ts'
import { expectRefusal, passphrase } from './helpers.ts'
import { SimFs } from './sim-fs.ts'

const keyFile: KeySource = { kind: 'key-file', path: '/sim/state.key' }
const context = { storeId: new Uint8Array(16).fill(9), dataKeyVersion: 1 }
const dataKey = new Uint8Array(randomBytes(DATA_KEY_SIZE))
const isDataKey = (key: ReturnType<typeof createSecretKey>): boolean => key.equals(createSecretKey(dataKey))

describe('key file', () => {
  it('is made at the first start: 32 random bytes, on disk before anything depends on it', async () => {
    const fs = new SimFs()
    const slots = await wrapDataKey(fs, [keyFile], context, dataKey)
    const after = fs.crash(() => false)
    expect(after.files()['/sim/state.key']).toHaveLength(KEY_FILE_SIZE)
    expect(Object.keys(after.files())).toEqual(['/sim/state.key'])
    expect(isDataKey(await unwrapDataKey(after, [keyFile], context, slots))).toBe(true)
  })

  it('is used when it is there already', async () => {
    const secret = new Uint8Array(KEY_FILE_SIZE).fill(5)
    const fs = new SimFs({ '/sim/state.key': secret, '/sim/state.key.tmp-0123': secret })
    await wrapDataKey(fs, [keyFile], context, dataKey)
    expect(fs.files()['/sim/state.key']).toEqual(secret)
  })

  it('leaves nothing unfinished behind', async () => {
    const fs = new SimFs({ '/sim/state.key.tmp-0123': new Uint8Array(3), '/sim/other': new Uint8Array(1) })
    await wrapDataKey(fs, [keyFile], context, dataKey)
    expect(Object.keys(fs.files()).sort()).toEqual(['/sim/other', '/sim/state.key'])
  })

  it('is refused when it is missing, wrong, cut or open to others', async () => {
    const fs = new SimFs()
    const slots = await wrapDataKey(fs, [keyFile], context, dataKey)
    const secret = fs.files()['/sim/state.key']!
    const unwrap = (disk: SimFs): Promise<unknown> => unwrapDataKey(disk, [keyFile], context, slots)
    await expectRefusal(unwrap(new SimFs()), 'state_key', /does not exist/)
    await expectRefusal(unwrap(new SimFs({ '/sim/state.key': new Uint8Array(KEY_FILE_SIZE) })), 'state_key', /does not belong/)
    for (let size = 0; size < KEY_FILE_SIZE; size++) await expectRefusal(unwrap(new SimFs({ '/sim/state.key': secret.slice(0, size) })), 'state_key', /bytes/)
    await expectRefusal(unwrap(new SimFs({ '/sim/state.key': new Uint8Array([...secret, 0]) })), 'state_key', /33 bytes/)
    for (let bit = 0; bit < KEY_FILE_SIZE * 8; bit++) {
      const altered = secret.slice()
      altered[bit >> 3]! ^= 1 << (bit & 7)
      await expectRefusal(unwrap(new SimFs({ '/sim/state.key': altered })), 'state_key', /does not belong/)
    }
    for (const mode of [0o640, 0o604, 0o660, 0o601, 0o644]) {
      fs.setFileMode('/sim/state.key', mode)
      expect((await expectRefusal(unwrap(fs), 'state_key', /Other users/)).hint).toBe('chmod 600 /sim/state.key')
    }
    fs.setFileMode('/sim/state.key', 0o400)
    expect(isDataKey(await unwrapDataKey(fs, [keyFile], context, slots))).toBe(true)
  })
})

describe('passphrase', () => {
  it('opens, in whatever way its letters are composed, and says which attempt it is asked for', async () => {
    const slots = await wrapDataKey(new SimFs(), [passphrase('caf\u00e9')], context, dataKey)
    const body = slots[0]!.body
    expect([body[0], readU32(body, 4)]).toEqual([1, PBKDF2_ITERATIONS])
    const asked: PassphraseRequest[] = []
    const source: KeySource = {
      kind: 'passphrase',
      ask: (request) => {
        asked.push(request)
        return Promise.resolve(request.attempt === 1 ? 'wrong' : 'cafe\u0301')
      },
    }
    expect(isDataKey(await unwrapDataKey(new SimFs(), [source], context, slots))).toBe(true)
    expect(asked).toEqual([{ purpose: 'open', attempt: 1 }, { purpose: 'open', attempt: 2 }])
  })

  it('is refused when it is wrong, empty, too long or not given', async () => {
    const slots = await wrapDataKey(new SimFs(), [passphrase('right')], context, dataKey)
    const unwrap = (source: KeySource): Promise<unknown> => unwrapDataKey(new SimFs(), [source], context, slots)
    await expectRefusal(unwrap(passphrase('wrong')), 'passphrase', /is wrong/)
    await expectRefusal(unwrap(passphrase()), 'passphrase', /none was given/)
    await expectRefusal(unwrap(passphrase('')), 'passphrase', /empty/)
    await expectRefusal(unwrap(passphrase('x'.repeat(1025))), 'passphrase', /longer/)
    let asked = 0
    const stubborn: KeySource = { kind: 'passphrase', ask: () => Promise.resolve(`wrong ${++asked}`) }
    await expectRefusal(unwrap(stubborn), 'passphrase', /is wrong/)
    expect(asked).toBe(PASSPHRASE_ATTEMPTS_MAX)
    await expectRefusal(wrapDataKey(new SimFs(), [passphrase()], context, dataKey), 'passphrase')
    await expectRefusal(wrapDataKey(new SimFs(), [passphrase('')], context, dataKey), 'passphrase')
  })

  it('has its rounds bounded from both sides before they are spent', async () => {
    const [slot] = await wrapDataKey(new SimFs(), [passphrase('right')], context, dataKey)
    const withRounds = (iterations: number): KeySlot[] => {
      const body = slot!.body.slice()
      writeU32(body, 4, iterations)
      return [{ kind: slotKinds.passphrase, body }]
    }
    const started = performance.now()
    for (const iterations of [0, 1, PBKDF2_ITERATIONS_MIN - 1, PBKDF2_ITERATIONS_MAX + 1, 0xffff_ffff]) {
      await expectRefusal(unwrapDataKey(new SimFs(), [passphrase('right')], context, withRounds(iterations)), 'state_corrupt', /rounds/)
    }
    expect(performance.now() - started).toBeLessThan(2_000)
    // Within the bounds they are bound: other rounds are another key.
    await expectRefusal(unwrapDataKey(new SimFs(), [passphrase('right')], context, withRounds(PBKDF2_ITERATIONS + 1)), 'passphrase', /is wrong/)
  })

  it('says so when the key derivation is of a later version', async () => {
    const body = new Uint8Array(64)
    body[0] = 3
    await expectRefusal(unwrapDataKey(new SimFs(), [passphrase('right')], context, [{ kind: slotKinds.passphrase, body }]), 'state_version')
  })
})

describe('slots', () => {
  it('are one for each source, and any one opens', async () => {
    const fs = new SimFs()
    const slots = await wrapDataKey(fs, [keyFile, passphrase('right')], context, dataKey)
    expect(slots.map(({ kind }) => kind)).toEqual([slotKinds.keyFile, slotKinds.passphrase])
    // Without its key file the passphrase still opens, and with the file nobody is asked.
    expect(isDataKey(await unwrapDataKey(new SimFs(), [keyFile, passphrase('right')], context, slots))).toBe(true)
    expect(isDataKey(await unwrapDataKey(fs, [keyFile, { kind: 'passphrase', ask: () => Promise.reject(new Error('asked')) }], context, slots))).toBe(true)
    await expectRefusal(unwrapDataKey(new SimFs(), [keyFile, passphrase()], context, slots), 'state_key', /does not exist/)
  })

  it('are bound to their store, data key version and kind', async () => {
    const fs = new SimFs()
    const [slot] = await wrapDataKey(fs, [keyFile], context, dataKey)
    await expectRefusal(unwrapDataKey(fs, [keyFile], { ...context, storeId: new Uint8Array(16) }, [slot!]), 'state_key')
    await expectRefusal(unwrapDataKey(fs, [keyFile], { ...context, dataKeyVersion: 2 }, [slot!]), 'state_corrupt')
    await expectRefusal(unwrapDataKey(fs, [keyFile], context, [{ kind: slotKinds.keyFile, body: slot!.body.subarray(1) }]), 'state_corrupt')
  })

  it('are told apart when none fits the sources', async () => {
    const fs = new SimFs()
    const byFile = await wrapDataKey(fs, [keyFile], context, dataKey)
    const byPassphrase = await wrapDataKey(fs, [passphrase('right')], context, dataKey)
    await expectRefusal(unwrapDataKey(fs, [passphrase('right')], context, byFile), 'state_key', /locked with a key file/)
    await expectRefusal(unwrapDataKey(fs, [keyFile], context, byPassphrase), 'passphrase', /locked with a passphrase/)
    await expectRefusal(unwrapDataKey(fs, [keyFile], context, [{ kind: 77, body: new Uint8Array(4) }]), 'state_key', /newer version/)
    await expectRefusal(unwrapDataKey(fs, [], context, byFile), 'state_key')
    await expectRefusal(wrapDataKey(fs, [], context, dataKey), 'config')
  })

  it('never repeat a salt or a nonce', async () => {
    const fs = new SimFs()
    const seen = new Set<string>()
    for (let i = 0; i < 50; i++) {
      const [slot] = await wrapDataKey(fs, [keyFile], context, dataKey)
      seen.add(Buffer.from(slot!.body.subarray(0, 32)).toString('hex')).add(Buffer.from(slot!.body.subarray(48, 60)).toString('hex'))
    }
    expect(seen.size).toBe(100)
  })
})
