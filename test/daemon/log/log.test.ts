import { createSecretKey } from 'node:crypto'
import { mkdtempSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, describe, expect, it } from 'vitest'
import { toHex, utf8 } from '../../../src/core/base/bytes.ts'
import { PosternError } from '../../../src/core/base/errors.ts'
import { DaemonLog, type LogOptions } from '../../../src/daemon/log/log.ts'
import type { LogEvent } from '../../../src/core/wire/ipc/ipc-topics.ts'
import type { RateSystem } from '../../../src/daemon/log/log-rate.ts'
import type { LogSink } from '../../../src/daemon/log/log-sink.ts'

class Memory implements LogSink {
  readonly lines: string[] = []
  readonly lost = 0
  reopened = 0
  write(line: string): void {
    this.lines.push(line)
  }

  reopen(): void {
    this.reopened++
  }

  flush(): void {
    // Nothing is buffered.
  }

  close(): Promise<void> {
    return Promise.resolve()
  }

  get text(): string {
    return this.lines.join('')
  }

  get records(): Record<string, unknown>[] {
    return this.lines.map((line) => JSON.parse(line) as Record<string, unknown>)
  }
}

function make(options: Partial<LogOptions> = {}): { log: DaemonLog; sink: Memory } {
  const sink = new Memory()
  return { sink, log: new DaemonLog({ level: 'trace', format: 'json', sink, ...options }) }
}

describe('lines', () => {
  it('are JSON objects with time, level, part, message and fields', () => {
    const { log, sink } = make()
    log.part('udp').info('socket opened', { port: 7000, address: '::' })
    log.part('ipc').part('session').debug('client said hello')
    expect(sink.records[0]).toEqual({ time: expect.stringMatching(/^\d{4}-.*Z$/) as unknown, level: 'info', part: 'udp', msg: 'socket opened', port: 7000, address: '::' })
    expect(sink.records[1]).toMatchObject({ level: 'debug', part: 'ipc/session', msg: 'client said hello' })
    expect(sink.lines.every((line) => line.endsWith('\n') && line.indexOf('\n') === line.length - 1)).toBe(true)
  })

  it('are plain text for people', () => {
    const { log, sink } = make({ format: 'text' })
    log.part('udp').warn('send failed', { port: 7000, why: 'no route', error: new PosternError('start', 'The socket failed.', { hint: 'Look.', cause: Object.assign(new Error('x'), { code: 'EBADF' }) }) })
    expect(sink.text).toMatch(/^\S+Z WARN {2}udp: send failed {2}port=7000 {2}why="no route" {2}error="The socket failed\." {2}error\.code=start {2}error\.hint=Look\. {2}error\.cause=x {2}error\.cause\.code=EBADF/)
  })

  it('cannot paint the terminal or forge a line', () => {
    const { log, sink } = make({ format: 'text' })
    const evil = '\x1b[31mred\x9b\n2026-01-01 ERROR fake\u202e\u2028'
    log.info(evil, { name: evil, [evil]: evil, list: [evil] })
    expect(sink.lines).toHaveLength(1)
    expect(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u2028\u202e]/.test(sink.text)).toBe(false)
    expect(sink.text.indexOf('\n')).toBe(sink.text.length - 1)
  })

  it('follow the level, at once and in all parts', () => {
    const { log, sink } = make({ level: 'warn' })
    const part = log.part('x')
    part.info('hidden')
    expect([part.enabled('info'), part.enabled('warn'), log.level]).toEqual([false, true, 'warn'])
    log.level = 'debug'
    part.info('shown')
    part.trace('hidden')
    expect(sink.records.map(({ msg }) => msg)).toEqual(['shown'])
  })

  it('are bounded, whatever is logged', () => {
    const { log, sink } = make()
    const ring: Record<string, unknown> = { name: 'ring' }
    ring['self'] = ring
    const wide = Object.fromEntries(Array.from({ length: 1000 }, (_, i) => [`field${i}`, i]))
    const throwing = { get bad(): string { throw new Error('no') }, good: 1 }
    log.info('odd', { ring, wide, throwing, text: 'x'.repeat(1e6), big: 1n, nan: NaN, symbol: Symbol('s'), f: () => 1, nothing: null, date: new Date(NaN), set: new Set([1]), map: new Map([['a', 1]]) })
    expect(sink.text.length).toBeLessThan(5_000)
    expect(sink.records[0]).toMatchObject({ throwing: { bad: '[unreadable]', good: 1 }, big: '1', nan: 'NaN', f: '[function]', nothing: null, set: [1], map: { a: 1 } })
    fc.assert(fc.property(fc.dictionary(fc.string(), fc.anything({ withBigInt: true, withMap: true, withSet: true, withTypedArray: true, withDate: true, withNullPrototype: true })), (fields) => {
      sink.lines.length = 0
      log.info('anything', fields)
      expect(sink.records[0]).toMatchObject({ msg: 'anything', level: 'info' })
    }))
  })
})

describe('who reads along', () => {
  it('gets lines of a level and graver, as they are written, until it stops', () => {
    const { log, sink } = make({ level: 'info' })
    const lines: LogEvent[] = []
    const stop = log.tap('warn', (line) => lines.push(line))
    log.info('fine')
    log.part('udp').warn('odd', { port: 7000 })
    stop()
    log.error('late')
    expect(lines).toEqual([{ time: expect.any(String) as string, level: 'warn', part: 'udp', message: 'odd', fields: { port: 7000 } }])
    expect(sink.lines).toHaveLength(3)
  })

  it('may want more than the log holds, which stays as it is', () => {
    const { log, sink } = make({ level: 'warn' })
    const lines: LogEvent[] = []
    expect(log.enabled('debug')).toBe(false)
    const stop = log.tap('debug', (line) => lines.push(line))
    expect(log.enabled('debug')).toBe(true)
    log.debug('small')
    log.warn('great')
    expect([lines.map(({ message }) => message), sink.records.map(({ msg }) => msg)]).toEqual([['small', 'great'], ['great']])
    stop()
    expect([log.enabled('debug'), log.level]).toEqual([false, 'warn'])
  })

  it('sees no secret either', () => {
    const { log } = make()
    const lines: LogEvent[] = []
    log.tap('trace', (line) => lines.push(line))
    log.hide('open sesame')
    log.info('try', { text: 'it is open sesame', token: 'abc' })
    expect(JSON.stringify(lines)).not.toMatch(/sesame|abc/)
  })

  it('finds the last lines, at most 256 and no more than a megabyte', () => {
    const { log } = make({ level: 'info' })
    for (let i = 0; i < 300; i++) log.info('line', { i })
    log.debug('not written')
    log.warn('last')
    expect(log.latest('info', 1000)).toHaveLength(256)
    expect(log.latest('info', 2).map(({ message, fields }) => [message, fields])).toEqual([['line', { i: 299 }], ['last', {}]])
    expect(log.latest('warn', 10)).toHaveLength(1)
    const wide = Object.fromEntries(Array.from({ length: 5 }, (_, i) => [`m${i}`, 'x'.repeat(1900)]))
    for (let i = 0; i < 256; i++) log.info('wide', wide)
    expect(log.latest('info', 256).length).toBeLessThan(120)
    const long = Object.fromEntries(Array.from({ length: 30 }, (_, i) => [`m${i}`, 'x '.repeat(900)]))
    log.info('long', long)
    expect(log.latest('info', 1)[0]).toMatchObject({ message: 'long', fields: { omitted: expect.stringMatching(/characters/) as string } })
  })
})

describe('secrets', () => {
  const seed = Uint8Array.from({ length: 32 }, (_, i) => (i * 89 + 41) & 0xff)
  const hex = toHex(seed)
  const base64 = Buffer.from(seed).toString('base64')
  const base64url = Buffer.from(seed).toString('base64url')
  const token = Buffer.from(seed.subarray(0, 16)).toString('base64url')
  const passphrase = 'correct horse battery staple'
  const apiKey = 'pk_4f9ZkQ2mPq8sT1'
  const link = `postern:1/${base64url}AAECAwQ`
  const peerId = 'mfrggzdfmztwq2lknnwg23tpobyxe43uov3ho6dzpiydcmrtgq2q'

  it('are printed in no form, wherever they stand', () => {
    for (const format of ['json', 'text'] as const) {
      const { log, sink } = make({ format })
      log.hide(passphrase)
      log.hide(utf8('second secret value'))
      const cause = new Error(`cannot unwrap with ${passphrase}`)
      const attempts: [string, Record<string, unknown>?][] = [
        ['by name', { passphrase, secret: passphrase, token, apiKey, key: base64, privateKey: hex, store: { key: hex, seed, inviteToken: token }, Authorization: token }],
        ['as bytes', { seed, value: seed, buffer: Buffer.from(seed), inside: [seed, { deep: seed }], view: new DataView(seed.buffer), raw: seed.buffer }],
        ['as a key object', { value: createSecretKey(seed), map: new Map([['x', createSecretKey(seed)]]) }],
        ['as text', { value: hex, a: base64, b: base64url, c: token, sentence: `the seed is ${hex}, or ${base64url}.` }],
        [`in the message ${passphrase} ${hex} ${apiKey} ${link} ${base64url} second secret value`],
        ['in an error', { error: new PosternError('state_key', `wrong: ${passphrase}`, { hint: `try ${link}`, cause }) }],
        ['in a stack', { error: cause }],
        ['in the arguments', { argv: ['posternd', 'join', link, `--key=${apiKey}`], url: new URL(`postern:${link.slice(8)}`) }],
        ['as a name', { [passphrase]: 1, [hex]: 2, [apiKey]: 3 }],
        ['as JSON', { body: JSON.stringify({ method: 'hello', params: { key: apiKey, passphrase } }) }],
        ['in a class of its own', { value: new (class Vault { readonly content = passphrase; toJSON(): string { return hex } })() }],
        ['as a PEM', { text: `-----BEGIN PRIVATE KEY-----\n${base64}\n-----END PRIVATE KEY-----` }],
        ['across the cut', { text: `${'x '.repeat(990)}${passphrase} ${hex}` }],
        ['far behind', { text: `${'x '.repeat(20_000)}${passphrase}` }],
      ]
      for (const [message, fields] of attempts) {
        for (const level of ['trace', 'debug', 'info', 'warn', 'error'] as const) log[level](message, fields)
      }
      expect(sink.lines).toHaveLength(attempts.length * 5)
      for (const secret of [passphrase, 'correct horse', 'second secret', hex, hex.toUpperCase(), base64, base64.slice(0, 30), base64url.slice(0, 30), token, apiKey, apiKey.slice(4), seed.join(','), seed.slice(0, 8).join(',')]) {
        expect(sink.text.includes(secret), `${format}: ${secret}`).toBe(false)
      }
    }
  })

  it('do not take with them what an operator needs', () => {
    const { log, sink } = make()
    const fields = { peer: peerId, address: '[2001:db8::1]:7000', file: '/home/ada/.local/state/postern/state.sealed', setting: 'udp.port', bytes: 1181, keepalive: 20, version: '0.1.0', counters: { cookies: 3, dropped: 4 } }
    log.info('session opened', fields)
    expect(sink.records[0]).toMatchObject(fields)
  })

  it('any secret that was registered is gone from any text', () => {
    const { log, sink } = make()
    fc.assert(fc.property(fc.string({ minLength: 4, maxLength: 40, unit: fc.constantFrom('a', 'B', '7', '-', ' ', 'é', '"', '\\') }), fc.string(), fc.string(), (secret, before, after) => {
      sink.lines.length = 0
      log.hide(secret)
      log.info('x', { text: before + secret + after })
      const shown = String(sink.records[0]?.['text'])
      // The text around may spell it again out of its own parts; the mark in between keeps them apart.
      expect(shown.includes(secret) && !'[hidden]'.includes(secret)).toBe(false)
    }))
  })
})

describe('rate', () => {
  class Time implements RateSystem {
    time = 0
    readonly #timers: { at: number; run: () => void }[] = []
    now(): number {
      return this.time
    }

    later(run: () => void, milliseconds: number): () => void {
      const timer = { at: this.time + milliseconds, run }
      this.#timers.push(timer)
      return () => void this.#timers.splice(this.#timers.indexOf(timer), 1)
    }

    pass(milliseconds: number): void {
      this.time += milliseconds
      for (const timer of [...this.#timers]) {
        if (timer.at > this.time) continue
        this.#timers.splice(this.#timers.indexOf(timer), 1)
        timer.run()
      }
    }

    get waiting(): number {
      return this.#timers.length
    }
  }

  it('the same warning passes ten times in ten seconds, then its number is told', () => {
    const rateSystem = new Time()
    const { log, sink } = make({ rateSystem })
    const part = log.part('udp')
    for (let i = 0; i < 1000; i++) part.warn('send failed', { i })
    for (let i = 0; i < 3; i++) part.warn('another')
    log.part('tcp').warn('send failed')
    log.error('send failed')
    expect(sink.records.filter(({ msg, part: of }) => msg === 'send failed' && of === 'udp')).toHaveLength(10)
    expect(sink.records).toHaveLength(15)
    sink.lines.length = 0
    rateSystem.pass(10_000)
    expect(sink.records).toEqual([expect.objectContaining({ level: 'warn', part: 'udp', msg: 'send failed', suppressed: 990, intervalS: 10 }) as unknown])
    part.warn('send failed')
    expect(sink.records).toHaveLength(2)
    expect(rateSystem.waiting).toBe(0)
  })

  it('info, debug and trace are not held back', () => {
    const { log, sink } = make({ rateSystem: new Time() })
    for (let i = 0; i < 100; i++) log.info('connected', { i })
    expect(sink.lines).toHaveLength(100)
  })

  it('is bounded in memory, and no count is lost', () => {
    const rateSystem = new Time()
    const { log, sink } = make({ rateSystem })
    for (let round = 0; round < 20; round++) log.warn('first')
    for (let i = 0; i < 1000; i++) log.warn(`message ${i}`)
    expect(sink.records.filter(({ suppressed }) => suppressed === 10)).toHaveLength(1)
    for (let round = 0; round < 15; round++) log.warn('last')
    log.flush()
    expect(sink.records.at(-1)).toMatchObject({ msg: 'last', suppressed: 5 })
    expect(rateSystem.waiting).toBe(0)
  })
})

describe('the file', () => {
  const directory = mkdtempSync(join(tmpdir(), 'postern-log-'))
  afterAll(() => rmSync(directory, { recursive: true, force: true }))

  it('is made with mode 0600 and appended to', async () => {
    const file = join(directory, 'a.log')
    for (let life = 0; life < 2; life++) {
      await using log = new DaemonLog({ level: 'info', format: 'json', file })
      for (let i = 0; i < 100; i++) log.info('line', { life, i })
    }
    expect(statSync(file).mode & 0o777).toBe(0o600)
    expect(readFileSync(file, 'utf8').trimEnd().split('\n')).toHaveLength(200)
  })

  it('is opened anew at SIGHUP, with no line lost', async () => {
    const file = join(directory, 'b.log')
    const log = new DaemonLog({ level: 'info', format: 'text', file })
    const stop = log.reopenOnHangup()
    for (let i = 0; i < 50; i++) log.info('before', { i })
    log.flush()
    renameSync(file, `${file}.1`)
    process.emit('SIGHUP')
    for (let i = 0; i < 50; i++) log.info('after', { i })
    await new Promise((resolve) => setTimeout(resolve, 50))
    log.info('last')
    stop()
    expect(process.listenerCount('SIGHUP')).toBe(0)
    await log.close()
    log.info('too late')
    const both = readFileSync(`${file}.1`, 'utf8') + readFileSync(file, 'utf8')
    expect(both.match(/before/g)).toHaveLength(50)
    expect(both.match(/after/g)).toHaveLength(50)
    expect(readFileSync(file, 'utf8')).toContain('last')
    expect(both).not.toContain('too late')
  })

  it('flush writes before it returns', () => {
    const file = join(directory, 'c.log')
    const log = new DaemonLog({ level: 'info', format: 'json', file })
    log.error('last words')
    log.flush()
    return log.close().then(() => expect(readFileSync(file, 'utf8')).toContain('last words'))
  })

  it('that cannot be opened is one plain error at the start', () => {
    try {
      new DaemonLog({ level: 'info', format: 'json', file: join(directory, 'absent', 'x.log') })
      expect.unreachable()
    } catch (error) {
      expect(error).toMatchObject({ code: 'unwritable', message: expect.stringContaining('ENOENT') as unknown, hint: expect.stringContaining('[log] file') as unknown })
    }
  })
})
