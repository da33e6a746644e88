import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { parse, stringify } from 'smol-toml'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { PosternError } from '../../../src/core/base/errors.ts'
import { defaultConfig as coreDefaults } from '../../../src/core/connection/config.ts'
import { defaultConfig, loadConfig, parseConfig, parseOverride, type ConfigOverride } from '../../../src/daemon/config/config.ts'
import { coreConfigOf } from '../../../src/daemon/config/config-core.ts'
import type { ConfigProblem } from '../../../src/daemon/config/config-problems.ts'
import { configKeys } from '../../../src/daemon/config/config-schema.ts'

const FILE = '/etc/postern/postern.toml'
const shipped = readFileSync(new URL('../../../config/postern.toml', import.meta.url), 'utf8')
/** The shipped file with every key switched on. */
const allKeys = shipped.replace(/^#(?=[a-z_]+ = )/gm, '')

function refused(text: string, overrides: readonly ConfigOverride[] = []): PosternError {
  try {
    parseConfig(text, FILE, overrides)
  } catch (error) {
    if (error instanceof PosternError) return error
    throw error
  }
  throw new Error(`accepted: ${text}`)
}

describe('the shipped file', () => {
  it('is the defaults, as it is and with every key switched on', () => {
    expect(parseConfig(shipped, FILE)).toEqual(defaultConfig())
    expect(parseConfig(allKeys, FILE)).toEqual(defaultConfig())
  })

  it('holds every key, each in its section and below a comment', () => {
    const written = Object.fromEntries(Object.entries(parse(allKeys)).map(([section, keys]) => [section, Object.keys(keys)]))
    expect(written).toEqual(configKeys)
    const lines = shipped.split('\n')
    lines.forEach((line, i) => {
      if (/^#[a-z_]+ = /.test(line)) expect(lines[i - 1], line).toMatch(/^#( |[a-z_]+ = )/)
    })
  })

  it('names the defaults that WIRE.md and the issue name', () => {
    expect(defaultConfig()).toMatchObject({
      udp: { port: 0, bind: ['::'] }, transport: { congestion: 'model' }, access: { strangers: false }, store: { key: 'file', passphraseFile: undefined },
      limits: { memory: 256 << 20, message: 1 << 20, channels: 256, queueMessages: 32_768, queueBytes: 8 << 20, sessionWindow: 8 << 20, channelWindow: 2 << 20 },
      session: { rekey: 120e6, reject: 180e6, clean: 3600e6, wipe: 7200e6, keyLife: 86_400e6, keepalive: 20e6, idle: 600e6, attempt: 5e6, giveUp: 90e6, ackDelay: 10_000 },
      ipc: { uidScopes: ['app:*', 'status', 'admin'], linger: 10e6 },
    })
  })
})

describe('the core', () => {
  it('is told its own defaults by ours', () => {
    expect(coreConfigOf(defaultConfig())).toEqual(coreDefaults)
    let adapter = false
    const core = coreConfigOf(defaultConfig(), () => adapter)
    expect(core.ble).toBe(false)
    adapter = true
    expect(core.ble).toBe(true)
  })

  it('is told what was written', () => {
    const core = coreConfigOf(parseConfig('[session]\nkeepalive = "off"\nidle = "1h"\n[limits]\nqueue_bytes = "2MiB"\n[access]\nstrangers = true\n[transport]\ncongestion = "cubic"\n[udp]\nguess_ports = false', FILE))
    expect(core).toMatchObject({ guessPorts: false, keepAlive: 0, idleKeep: 3600e6, queueBytes: 2 << 20, admitStrangers: true, congestion: 'cubic' })
  })
})

describe('values', () => {
  it.each([
    ['[limits]\nmemory = "300MB"', { limits: { memory: 288 << 20 } }],
    ['[limits]\nmemory = 67108864', { limits: { memory: 64 << 20 } }],
    ['[limits]\nqueue_bytes = "1.5 MiB"', { limits: { queueBytes: 1_572_864 } }],
    ['[limits]\nhandshake_cpu_share = "100%"', { limits: { handshakeCpuShare: 1 } }],
    ['[limits]\nhandshake_cpu_share = 0.2', { limits: { handshakeCpuShare: 0.2 } }],
    ['[session]\nkeepalive = "off"', { session: { keepalive: 0 } }],
    ['[session]\nkeepalive = 0', { session: { keepalive: 0 } }],
    ['[session]\nkeepalive = 25', { session: { keepalive: 25e6 } }],
    ['[session]\nattempt = "750ms"', { session: { attempt: 750_000 } }],
    ['[session]\nidle = "1h"', { session: { idle: 3600e6 } }],
    ['[portmap]\nenabled = false\nlifetime = "2h"', { portmap: { enabled: false, lifetime: 7200e6 } }],
    ['[shutdown]\ndrain = 0.1', { shutdown: { drain: 100_000 } }],
    ['[stun]\nservers = ["stun.example.org", "Stun.Example.org:19302", "192.0.2.1", "192.0.2.1:1", "2001:db8::1", "[2001:db8::1]:2"]\nrefresh = "off"', { stun: { refresh: 0, servers: [
      { host: 'stun.example.org', port: 3478 }, { host: 'Stun.Example.org', port: 19_302 }, { host: '192.0.2.1', port: 3478 }, { host: '192.0.2.1', port: 1 }, { host: '2001:db8::1', port: 3478 }, { host: '2001:db8::1', port: 2 },
    ] } }],
    ['[udp]\nadvertise = ["203.0.113.7", "203.0.113.7:7000", "[2001:db8::1]:7001", "2001:db8::2"]', { udp: { advertise: [
      { host: '203.0.113.7', port: 0 }, { host: '203.0.113.7', port: 7000 }, { host: '2001:db8::1', port: 7001 }, { host: '2001:db8::2', port: 0 },
    ] } }],
    ['udp = { port = 7000 }', { udp: { port: 7000 } }],
    ['udp.port = 7000', { udp: { port: 7000 } }],
    ['\uFEFF[log]\r\nlevel = "debug"\r\nformat = "json"\r\n', { log: { level: 'debug', format: 'json' } }],
    ['[access]\napps = ["dice", "chess/2"]\nstrangers = true', { access: { apps: ['dice', 'chess/2'], strangers: true } }],
    ['[ipc]\nuids = [1001]', { ipc: { uids: [1001] } }],
    ['[ipc]\nuid_scopes = ["app:dice"]', { ipc: { uidScopes: ['app:dice'] } }],
  ])('%j is read', (text, expected) => {
    expect(parseConfig(text, FILE)).toMatchObject(expected)
  })

  it.each<[string, number, string, RegExp]>([
    ['[udp]\n\nport = 70000', 3, 'udp.port', /\[udp\] port must be a whole number from 0 to 65535, but is 70000/],
    ['[udp]\nport = "7000"', 2, 'udp.port', /whole number .* but is "7000"/],
    ['[udp]\nport = 1.5', 2, 'udp.port', /whole number/],
    ['[udp]\nport = nan', 2, 'udp.port', /whole number .* but is "NaN"/],
    ['[udp]\nbind = []', 2, 'udp.bind', /must list 1 to 16 IP addresses, but lists 0/],
    ['[udp]\nbind = ["localhost"]', 2, 'udp.bind', /an entry must be an IP address .* but is "localhost"/],
    ['[udp]\nbind = ["::", "::"]', 2, 'udp.bind', /twice/],
    ['[udp]\nbind = "::"', 2, 'udp.bind', /must be a list of IP addresses, but is "::"/],
    ['[udp]\nadvertise = ["example.org:7000"]', 2, 'udp.advertise', /must be an address such as/],
    ['[udp]\nadvertise = ["203.0.113.7:0"]', 2, 'udp.advertise', /must be an address such as/],
    ['[udp]\nadvertise = ["2001:db8::1:70000"]', 2, 'udp.advertise', /must be an address such as/],
    ['[portmap]\nlifetime = "5s"', 2, 'portmap.lifetime', /a duration from "10s" to "24h"/],
    ['[stun]\nservers = ["stun.example.org:0"]', 2, 'stun.servers', /must be a server such as/],
    ['[stun]\nservers = ["https://stun.example.org"]', 2, 'stun.servers', /must be a server such as/],
    ['[stun]\nservers = ["300.1.1.1"]', 2, 'stun.servers', /must be a server such as/],
    ['[stun]\nservers = "stun.example.org"', 2, 'stun.servers', /must be a list of servers/],
    ['[stun]\nportal = "https://example.org"', 2, 'stun.portal', /must be an address such as "http:/],
    ['[stun]\nportal = "http://a:b@example.org"', 2, 'stun.portal', /must be an address such as "http:/],
    ['[stun]\nrefresh = "10ms"', 2, 'stun.refresh', /a duration from "1s" to "10min" or "off"/],
    ['[udp]\nreceive_buffer = "1KiB"', 2, 'udp.receive_buffer', /a size from "64KiB" to "64MiB", but is "1KiB"/],
    ['[limits]\nmemory = "256 megs"', 2, 'limits.memory', /a size from "64MiB" to "1984MiB" \("64KiB", "8MiB"/],
    ['[limits]\nmemory = "3GiB"', 2, 'limits.memory', /but is "3GiB"/],
    ['[limits]\nmemory = true', 2, 'limits.memory', /but is true/],
    ['[limits]\nhandshake_cpu_share = 25', 2, 'limits.handshake_cpu_share', /a share from 0.01 to 1/],
    ['[limits]\nhandshake_cpu_share = "101%"', 2, 'limits.handshake_cpu_share', /a share/],
    ['[limits]\n# note\nqueue_bytes = "512KiB"', 3, 'limits.queue_bytes', /at least 1048608B, one message/],
    ['[limits]\nchannel_window = "1MiB"', 2, 'limits.channel_window', /at least/],
    ['[limits]\nchannel_window = "16MiB"', 2, 'limits.channel_window', /session_window must be at least 16MiB, as much as channel_window, but is 8MiB/],
    ['[limits]\nmemory = "64MiB"\nqueue_bytes = "65MiB"', 3, 'limits.queue_bytes', /must not be more than memory, which is 64MiB/],
    ['[session]\nrekey = "2d"', 2, 'session.rekey', /a duration from "1s" to "1h", but is "2d"/],
    ['[session]\nrekey = "soon"', 2, 'session.rekey', /\("250ms", "20s", "15min", "2h", or a number of seconds\), but is "soon"/],
    ['[session]\nkeepalive = "1ms"', 2, 'session.keepalive', /or "off", but is "1ms"/],
    ['[session]\nrekey = "off"', 2, 'session.rekey', /but is "off"/],
    ['[session]\nrekey = "300s"', 2, 'session.rekey', /reject must be longer than rekey, which is "5min", but is "3min"/],
    ['[session]\nrekey = "300s"\nreject = "200s"', 3, 'session.reject', /longer than rekey/],
    ['[session]\nquiet_max = "10s"', 2, 'session.quiet_max', /at least as long as quiet_first, which is "30s"/],
    ['[session]\nidle = "1500ms"', 2, 'session.idle', /in steps of 1s/],
    ['[session]\nack_delay = "2500us"', 2, 'session.ack_delay', /in steps of 1ms/],
    ['[log]\nlevel = "loud"', 2, 'log.level', /must be "trace" or "debug" or "info" or "warn" or "error", but is "loud"/],
    ['[access]\nstrangers = "no"', 2, 'access.strangers', /must be true or false, but is "no"/],
    ['[access]\napps = ["bad name"]', 2, 'access.apps', /name of an app/],
    // What the wire cannot carry would stand for no app at all.
    ['[access]\nstrangers = true\napps = ["dice", "Chess"]', 3, 'access.apps', /1 to 64 of a-z 0-9 \. _ \/ -, but is "Chess"/],
    ['[access]\napps = ["würfel"]', 2, 'access.apps', /name of an app/],
    ['[access]\napps = ["dice:1"]', 2, 'access.apps', /name of an app/],
    ['[ipc]\nuid_scopes = ["app:Dice"]', 2, 'ipc.uid_scopes', /"app:Dice"/],
    ['[ipc]\nuid_scopes = ["root"]', 2, 'ipc.uid_scopes', /"status", "admin", "app:\*"/],
    ['[log]\nfile = 7', 2, 'log.file', /must be a path in quotes/],
    ['# c\nudp = 3', 2, 'udp', /\[udp\] is a section/],
    ['[udp]\nbind = [\n  "::",\n  "x",\n]', 2, 'udp.bind', /but is "x"/],
    ['[[udp]]\nport = 1', 1, 'udp', /\[udp\] is a section/],
  ])('%j is refused on line %i', (text, line, key, message) => {
    const error = refused(text)
    expect(error.code).toBe('config')
    expect(error.message).toMatch(message)
    expect(error.message.startsWith(`${FILE} line ${line}: `), error.message).toBe(true)
    expect(error.details).toMatchObject({ file: FILE, line, key })
    expect(error.hint).toBeTruthy()
  })
})

describe('unknown keys', () => {
  it.each<[string, number, string, RegExp]>([
    ['[udp]\nprot = 1', 2, 'udp.prot', /\[udp\] has no key "prot"; did you mean "port"\?$/],
    ['[udp]\nrecieve_buffer = 1', 2, 'udp.recieve_buffer', /did you mean "receive_buffer"\?$/],
    ['[session]\n\nkeep-alive = 1', 3, 'session.keep-alive', /did you mean "keepalive"\?$/],
    ['[limits]\nQueue_Bytes = "8MiB"', 2, 'limits.Queue_Bytes', /did you mean "queue_bytes"\?$/],
    ['[udp]\nkeepalive = "20s"', 2, 'udp.keepalive', /\[udp\] has no key "keepalive"; did you mean "keepalive" in \[session\]\?$/],
    ['port = 7000', 1, 'port', /no section "port", and keys stand in sections; did you mean "port" in \[udp\]\?$/],
    ['[udq]\nport = 1', 1, 'udq', /no section "udq".*did you mean \[udp\]\?$/],
    ['[udp]\nxyzzyplugh = 1', 2, 'udp.xyzzyplugh', /\[udp\] has no key "xyzzyplugh"\.$/],
    ['[udp.port]\nx = 1', 1, 'udp.port', /whole number/],
    ['[store]\npassphrase = "hunter2hunter2"', 2, 'store.passphrase', /did you mean "passphrase_file"\?$|has no key "passphrase"/],
    ['[udp]\n"a.b" = 1', 2, 'udp.a.b', /has no key "a.b"\.$/],
    ['[log]\nlevel = "info"\n\n[udp]\nport = 1\nprt = 2', 6, 'udp.prt', /"port"/],
  ])('%j', (text, line, key, message) => {
    const error = refused(text)
    expect(error.message).toMatch(message)
    expect(error.details).toMatchObject({ line, key })
  })

  it('finds all problems and tells the first in the file', () => {
    const error = refused('[log]\nlevel = "x"\n[udp]\nport = -1\nprt = 1\n')
    expect(error.message).toMatch(/line 2: .*\(and 2 more\)$/)
    const problems = error.details?.['problems'] as readonly ConfigProblem[]
    expect(problems.map(({ line, key }) => [line, key])).toEqual([[2, 'log.level'], [4, 'udp.port'], [5, 'udp.prt']])
  })

  it('repeats no value that may be a secret in the wrong place', () => {
    const secret = 'correct-horse-battery'
    const texts = [`[store]\npassphrase = "${secret}"`, `[store]\nkey = "${secret}"`, `[store]\npassphrase_file = ["${secret}"]`, `[store]\nkey = "${secret}`, `passphrase = "${secret}"`]
    for (const text of texts) {
      const error = refused(text)
      expect(`${error.message}${error.hint ?? ''}${JSON.stringify(error.details)}`, text).not.toContain(secret)
    }
  })
})

describe('what is no TOML', () => {
  it.each<[string, number, number]>([
    ['[udp]\nport = ', 2, 8],
    ['[udp\nport = 1', 1, 5],
    ['[udp]\nport = 1\nport = 2', 3, 1],
    ['[udp]\nport = 99999999999999999999', 2, 8],
    ['[log]\nfile = "a\nb"', 2, 10],
    ['__proto__ = 1', 1, 1],
    ['[udp]\nport = 1 bind = 2', 2, 10],
  ])('%j: line %i', (text, line, column) => {
    const error = refused(text)
    expect(error.code).toBe('config')
    expect(error.message).toMatch(new RegExp(`^${FILE} line ${line}: column ${column}: this is not TOML: `))
    expect(error.message).not.toContain('\n')
    expect(error.details).toMatchObject({ line })
  })

  it('never throws anything but a config error, whatever the text', () => {
    const fragment = fc.oneof(fc.constantFrom('[udp]', '[', ']', 'port', '=', '\n', '"', '"""', "'''", '1', '{', '}', '#', 'inf', '1979-05-27', '[[log]]', 'a.b', '\\u0000', '💥'), fc.string({ maxLength: 5 }))
    fc.assert(fc.property(fc.array(fragment, { maxLength: 20 }), (parts) => {
      const text = parts.join('')
      try {
        parseConfig(text, FILE)
      } catch (error) {
        expect(error, text).toBeInstanceOf(PosternError)
        expect((error as PosternError).code).toBe('config')
        expect((error as PosternError).message).not.toContain('\n')
      }
    }), { numRuns: 2000 })
  })
})

const durations = (min: number, max: number): fc.Arbitrary<string | number> => fc.integer({ min, max }).chain((seconds) => fc.constantFrom(seconds, `${seconds}s`, `${seconds * 1000}ms`, ` ${seconds} S `))
const sizes = (minKiB: number, maxKiB: number): fc.Arbitrary<string | number> => fc.integer({ min: minKiB, max: maxKiB }).chain((kib) => fc.constantFrom(kib * 1024, `${kib}KiB`, `${kib} kib`))

const validDocument = fc.record({
  udp: fc.record({
    port: fc.integer({ min: 0, max: 65_535 }), bind: fc.uniqueArray(fc.oneof(fc.ipV4(), fc.ipV6()), { minLength: 1, maxLength: 5 }),
    advertise: fc.uniqueArray(fc.ipV4(), { maxLength: 5 }), receive_buffer: sizes(64, 65_536),
  }, { requiredKeys: [] }),
  transport: fc.record({ congestion: fc.constantFrom('model', 'cubic') }, { requiredKeys: [] }),
  tcp: fc.record({ enabled: fc.boolean(), listen: fc.boolean(), port: fc.integer({ min: 0, max: 65_535 }), after: durations(0, 60) }, { requiredKeys: [] }),
  stun: fc.record({ enabled: fc.boolean(), servers: fc.constantFrom([], ['192.0.2.1'], ['stun.example.org', '[2001:db8::1]:1']), refresh: fc.oneof(fc.constant('off'), durations(1, 600)), portal: fc.constantFrom('', 'http://example.org/x') }, { requiredKeys: [] }),
  introduce: fc.record({ serve: fc.boolean() }, { requiredKeys: [] }),
  portmap: fc.record({ enabled: fc.boolean(), lifetime: durations(10, 86_400) }, { requiredKeys: [] }),
  ble: fc.record({
    enabled: fc.constantFrom('auto', 'on', 'off'), backend: fc.constantFrom('auto', 'hci', 'bluez', 'corebluetooth', 'virtual'), adapter: fc.constantFrom('', 'hci0', 'hci12'), socket: fc.constantFrom('', '/tmp/air.sock'),
    mode: fc.constantFrom('active', 'background', 'saver'), strangers: fc.boolean(), links_out: fc.integer({ min: 0, max: 16 }), links_in: fc.integer({ min: 0, max: 16 }),
  }, { requiredKeys: [] }),
  path: fc.constantFrom({}, { prefer: 'tcp' }, { prefer: '' }, { only: 'udp', never: ['tcp'] }, { never: ['udp'] }, { prefer: 'tcp', only: 'tcp', never: [] }),
  store: fc.record({ key: fc.constantFrom('file', 'passphrase'), passphrase_file: fc.constantFrom('', '/run/secret', 'beside') }, { requiredKeys: [] }),
  ipc: fc.record({ socket: fc.constantFrom('', '/tmp/x.sock'), uids: fc.uniqueArray(fc.nat({ max: 4_294_967_294 }), { maxLength: 8 }), uid_scopes: fc.subarray(['status', 'admin', 'app:*', 'app:dice']), linger: durations(0, 600) }, { requiredKeys: [] }),
  access: fc.record({ strangers: fc.boolean(), apps: fc.subarray(['*', 'dice', 'chess']) }, { requiredKeys: [] }),
  limits: fc.record({
    memory: sizes(65_536, 2_031_616), message: sizes(1, 1024), channels: fc.integer({ min: 1, max: 4096 }), queue_messages: fc.integer({ min: 16, max: 1_000_000 }),
    queue_bytes: sizes(2048, 65_536), session_window: sizes(8192, 1_048_576), channel_window: sizes(2048, 8192), handshake_cpu_share: fc.constantFrom(0.01, 0.5, 1, '30%'),
  }, { requiredKeys: [] }),
  session: fc.record({
    rekey: durations(1, 120), reject: durations(180, 3600), clean: durations(3600, 7200), wipe: durations(7200, 43_200), key_life: durations(43_200, 86_400),
    keepalive: fc.oneof(fc.constant('off'), durations(1, 600)), idle: durations(1, 86_400), path_gone: durations(1, 600), attempt: durations(1, 60), give_up: durations(60, 3600),
    quiet_first: durations(1, 900), quiet_max: durations(900, 86_400), ack_delay: fc.integer({ min: 1, max: 100 }).map((ms) => `${ms}ms`),
    channel_decision: durations(1, 600), channel_drain: durations(1, 600),
  }, { requiredKeys: [] }),
  native: fc.record({ enabled: fc.boolean() }, { requiredKeys: [] }),
  log: fc.record({ level: fc.constantFrom('trace', 'debug', 'info', 'warn', 'error'), format: fc.constantFrom('text', 'json'), file: fc.constantFrom('', 'log/x.log') }, { requiredKeys: [] }),
  shutdown: fc.record({ drain: durations(0, 600) }, { requiredKeys: [] }),
}, { requiredKeys: [] })

describe('properties', () => {
  it('any valid document parses, and what it does not say is the default', () => {
    fc.assert(fc.property(validDocument, (document) => {
      const config = parseConfig(stringify(document), FILE)
      for (const name of Object.keys(configKeys) as (keyof typeof config)[]) {
        if (document[name] === undefined) expect(config[name]).toEqual(defaultConfig()[name])
      }
      if (document.udp?.port !== undefined) expect(config.udp.port).toBe(document.udp.port)
      expect(config.limits.memory % (16 << 20)).toBe(0)
      expect(config.session.rekey).toBeLessThan(config.session.reject)
    }), { numRuns: 500 })
  })

  it('an unknown key is found on its line wherever it stands', () => {
    fc.assert(fc.property(validDocument, fc.constantFrom(...Object.keys(configKeys)), fc.nat(), (document, section, seed) => {
      const lines = stringify({ ...document, [section]: document[section as keyof typeof document] ?? {} }).split('\n')
      const header = lines.indexOf(`[${section}]`)
      let end = header + 1
      while (end < lines.length && !lines[end]!.startsWith('[')) end++
      const at = header + 1 + (seed % (end - header))
      lines.splice(at, 0, 'zzz_unknown = 1')
      expect(refused(lines.join('\n')).details).toMatchObject({ line: at + 1, key: `${section}.zzz_unknown` })
    }), { numRuns: 200 })
  })
})

describe('the command line', () => {
  it('goes before the file', () => {
    const overrides = [{ key: 'udp.port', value: 9, option: '--port' }, parseOverride('log.level=debug', '--set'), parseOverride('udp.bind=["127.0.0.1"]', '--set')]
    expect(parseConfig('[udp]\nport = 7000', FILE, overrides)).toMatchObject({ udp: { port: 9, bind: ['127.0.0.1'] }, log: { level: 'debug' } })
  })

  it('is named in errors in place of a line', () => {
    const error = refused('[udp]\nport = 7000', [{ key: 'udp.port', value: 70_000, option: '--port' }])
    expect(error.message).toMatch(/^--port: \[udp\] port must be/)
    expect(error.details).toMatchObject({ line: undefined, key: 'udp.port' })
    expect(refused('', [parseOverride('udp.prt=1', '--set')]).message).toMatch(/^--set: .*did you mean "port"/)
    expect(refused('udp = 3', [parseOverride('udp.port=1', '--set')]).message).toContain('is a section')
    expect(() => parseOverride('port=1', '--set')).toThrow(/section.key=value/)
  })
})

describe('the file', () => {
  let directory: string
  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), 'postern-config-'))
  })
  afterAll(() => rmSync(directory, { recursive: true, force: true }))

  function write(name: string, text: string | Uint8Array, mode = 0o600): string {
    const file = join(directory, name)
    writeFileSync(file, text)
    chmodSync(file, mode)
    return file
  }

  function failure(config: string, configNamed = true): PosternError {
    try {
      loadConfig({ config, configNamed })
    } catch (error) {
      if (error instanceof PosternError) return error
      throw error
    }
    throw new Error('accepted')
  }

  it('may be absent, unless it was named', () => {
    const config = join(directory, 'absent', 'postern.toml')
    expect(loadConfig({ config, configNamed: false })).toEqual({ config: defaultConfig(), file: undefined, warnings: [] })
    const error = failure(config)
    expect(error).toMatchObject({ code: 'config' })
    expect(error.message).toContain(`${config} does not exist`)
    expect(error.hint).toContain('--config')
  })

  it('is a file of UTF-8 text of a sensible size', () => {
    expect(failure(directory).message).toMatch(/is not a file/)
    expect(failure(write('latin1.toml', Uint8Array.of(0x23, 0xe9, 0x0a))).message).toMatch(/not UTF-8/)
    expect(failure(write('huge.toml', '#'.repeat((1 << 20) + 1))).message).toMatch(/too large/)
  })

  it.skipIf(process.getuid?.() === 0)('that cannot be read', () => {
    expect(failure(write('closed.toml', '', 0)).message).toMatch(/cannot be read \(EACCES\)/)
  })

  it('is named with the line of the error', () => {
    const file = write('bad.toml', '# one\n[udp]\nport = "x"\n')
    expect(failure(file).message).toContain(`${file} line 3: [udp] port must be`)
  })

  it('has its relative paths beside it', () => {
    const file = write('paths.toml', '[log]\nfile = "log/postern.log"\n[ipc]\nsocket = "/run/x.sock"\n')
    const { config } = loadConfig({ config: file, configNamed: true })
    expect(config.log.file).toBe(join(directory, 'log/postern.log'))
    expect(config.ipc.socket).toBe('/run/x.sock')
    expect(config.store.passphraseFile).toBeUndefined()
  })

  it('warns of a file that others can write, or read when it names a passphrase file; and takes it', () => {
    const text = '[store]\nkey = "passphrase"\npassphrase_file = "/run/secret"\n'
    expect(loadConfig({ config: write('a.toml', text, 0o600), configNamed: true }).warnings).toEqual([])
    expect(loadConfig({ config: write('b.toml', '', 0o644), configNamed: true }).warnings).toEqual([])
    const readable = loadConfig({ config: write('c.toml', text, 0o644), configNamed: true })
    expect(readable.config.store).toEqual({ key: 'passphrase', passphraseFile: '/run/secret' })
    expect(readable.warnings).toEqual([expect.stringContaining('chmod 600 /run/secret')])
    expect(loadConfig({ config: write('d.toml', '', 0o666), configNamed: true }).warnings).toEqual([expect.stringContaining('written by other users')])
  })
})
