import { EventEmitter } from 'node:events'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { fromUtf8, utf8 } from '../../../src/core/base/bytes.ts'
import { readPassphrase, type Terminal } from '../../../src/daemon/config/config-passphrase.ts'

const directory = mkdtempSync(join(tmpdir(), 'postern-passphrase-'))
afterAll(() => rmSync(directory, { recursive: true, force: true }))

function secretFile(name: string, content: string | Uint8Array, mode = 0o600): string {
  const file = join(directory, name)
  writeFileSync(file, content)
  chmodSync(file, mode)
  return file
}

class Keyboard extends EventEmitter {
  raw = false
  flowing = false
  setRawMode(raw: boolean): void {
    this.raw = raw
  }

  resume(): void {
    this.flowing = true
  }

  pause(): void {
    this.flowing = false
  }
}

function terminal(): { terminal: Terminal; keyboard: Keyboard; screen: () => string } {
  const keyboard = new Keyboard()
  let screen = ''
  return { keyboard, screen: () => screen, terminal: { input: keyboard, output: { write: (text) => (screen += text) } } }
}

describe('readPassphrase', () => {
  it('takes the environment first, and takes it out of there', async () => {
    const env = { POSTERN_PASSPHRASE: 'from the environment', OTHER: 'x' }
    const passphrase = await readPassphrase({ env, file: secretFile('unused', 'x'), terminal: undefined })
    expect(fromUtf8(passphrase)).toBe('from the environment')
    expect(env).toEqual({ OTHER: 'x' })
  })

  it.each([['one\n', 'one'], ['two\r\nsecond line', 'two'], ['three', 'three'], [' spaces stay \n', ' spaces stay '], ['pässwörd\n', 'pässwörd']])('reads the first line of a file (%j)', async (content, expected) => {
    expect(fromUtf8(await readPassphrase({ env: {}, file: secretFile('file', content), terminal: undefined }))).toBe(expected)
  })

  it.each([0o604, 0o644, 0o620, 0o666])('refuses a file of mode %o', async (mode) => {
    await expect(readPassphrase({ env: {}, file: secretFile('open', 'secret words', mode), terminal: undefined })).rejects.toMatchObject({ code: 'passphrase', hint: expect.stringContaining('chmod 600') as unknown })
  })

  it('accepts what systemd hands over (mode 0440)', async () => {
    await expect(readPassphrase({ env: {}, file: secretFile('credential', 'words', 0o440), terminal: undefined })).resolves.toBeDefined()
  })

  it.each<[string, Uint8Array | string]>([['empty', ''], ['only a newline', '\n'], ['not UTF-8', Uint8Array.of(0xff, 0xfe)], ['endless', 'x'.repeat(2000)]])('refuses a file that is %s', async (_name, content) => {
    await expect(readPassphrase({ env: {}, file: secretFile('bad', content), terminal: undefined })).rejects.toMatchObject({ code: 'passphrase' })
  })

  it('says what to do when the file is missing, or there is no source at all', async () => {
    await expect(readPassphrase({ env: {}, file: join(directory, 'none'), terminal: undefined })).rejects.toMatchObject({ code: 'passphrase', message: expect.stringContaining('ENOENT') as unknown })
    await expect(readPassphrase({ env: {}, file: undefined, terminal: undefined })).rejects.toMatchObject({ code: 'passphrase', hint: expect.stringContaining('passphrase_file') as unknown })
    await expect(readPassphrase({ env: { POSTERN_PASSPHRASE: '' }, file: undefined, terminal: undefined })).rejects.toMatchObject({ code: 'passphrase' })
  })

  it('asks on the terminal without an echo, and understands corrections', async () => {
    const { terminal: asked, keyboard, screen } = terminal()
    const reading = readPassphrase({ env: {}, file: undefined, terminal: asked })
    expect(keyboard.raw).toBe(true)
    for (const typed of ['wrong\x15', 'seß\x7f', 'crex\b', 't', '\rrest']) keyboard.emit('data', utf8(typed))
    expect(fromUtf8(await reading)).toBe('secret')
    expect(screen()).toBe('Passphrase: \n')
    expect([keyboard.raw, keyboard.flowing, keyboard.listenerCount('data')]).toEqual([false, false, 0])
  })

  it('gives up at Ctrl-C and leaves the terminal as it was', async () => {
    const { terminal: asked, keyboard } = terminal()
    const reading = readPassphrase({ env: {}, file: undefined, terminal: asked })
    keyboard.emit('data', utf8('sec\x03'))
    await expect(reading).rejects.toMatchObject({ code: 'passphrase' })
    expect([keyboard.raw, keyboard.flowing, keyboard.listenerCount('data')]).toEqual([false, false, 0])
  })
})
