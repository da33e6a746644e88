import { readFileSync, statSync } from 'node:fs'
import { parse, TomlError } from 'smol-toml'
import { fromUtf8 } from '../../core/base/bytes.ts'
import { PosternError } from '../../core/base/errors.ts'
import { locateKeys, placeOf } from './config-locate.ts'
import { configError, problemsOf, type ConfigProblem, type Locate } from './config-problems.ts'
import { configDefaults, configSchema, type Config } from './config-schema.ts'
import { absoluteFrom, type Paths } from '../paths.ts'

export interface LoadedConfig {
  readonly config: Config
  /** The file that was read, `undefined` when there was none and the defaults rule. */
  readonly file: string | undefined
  /** What works but deserves a line in the log. */
  readonly warnings: readonly string[]
}

/** One key given on the command line. */
export interface ConfigOverride {
  /** `udp.port` */
  readonly key: string
  readonly value: unknown
  /** What the user typed it with, for errors: `--port`. */
  readonly option: string
}

/** One key of the configuration as it rules, and why. */
export interface EffectiveKey {
  /** `udp.port` */
  readonly key: string
  /** As it is written, or would be. */
  readonly value: unknown
  readonly from: 'default' | 'file' | 'option'
  /** Of the file, from 1. */
  readonly line?: number
  /** As typed: `--port`. */
  readonly option?: string
}

/** Far above any real file; what is larger was named by mistake. */
const FILE_SIZE_MAX = 1 << 20

const defaults: Config = configSchema.parse({})

/** What rules where nothing is written. */
export function defaultConfig(): Config {
  return defaults
}

/**
 * Reads the configuration: defaults, then the one file that `paths` names (absent is fine unless the user named it), then what
 * the command line says. Relative paths in it start beside the file. Throws {@link PosternError} `config` with the file, the line, the key
 * and, for an unknown key, the nearest known one; `details.problems` holds every problem found.
 */
export function loadConfig(paths: Pick<Paths, 'config' | 'configNamed'>, overrides: readonly ConfigOverride[] = []): LoadedConfig {
  const read = readConfigFile(paths)
  const config = parseConfig(read?.text ?? '', paths.config, overrides)
  const resolved = resolveFiles(config, paths)
  return { config: resolved, file: read === undefined ? undefined : paths.config, warnings: read === undefined ? [] : warningsFor(read.mode, config, paths.config) }
}

/** Every key, in the order of config/postern.toml, of a configuration that {@link loadConfig} accepts. */
export function effectiveKeys(paths: Pick<Paths, 'config' | 'configNamed'>, overrides: readonly ConfigOverride[] = []): readonly EffectiveKey[] {
  const text = readConfigFile(paths)?.text ?? ''
  const document = parseToml(text, paths.config)
  const origins = new Map<string, string>()
  for (const override of overrides) apply(document, override, origins)
  const lines = locateKeys(text)
  return Object.entries(configDefaults).flatMap(([section, defaults]) => Object.entries(defaults).map(([name, initial]): EffectiveKey => {
    const key = `${section}.${name}`
    const place = placeOf([section, name])
    const value = (document[section] as Readonly<Record<string, unknown>> | undefined)?.[name]
    const [option, line] = [origins.get(place), lines.get(place)]
    if (option !== undefined) return { key, value, from: 'option', option }
    if (value !== undefined) return { key, value, from: 'file', ...(line === undefined ? {} : { line }) }
    return { key, value: initial, from: 'default' }
  }))
}

/** Checks a document; `file` is only named in errors. */
export function parseConfig(text: string, file: string, overrides: readonly ConfigOverride[] = []): Config {
  const document = parseToml(text, file)
  const origins = new Map<string, string>()
  for (const override of overrides) apply(document, override, origins)
  const result = configSchema.safeParse(document)
  if (result.success) return result.data
  const lines = locateKeys(text)
  const locate: Locate = (place) => {
    const option = origins.get(place)
    if (option !== undefined) return { source: option, line: undefined }
    const line = lines.get(place)
    return line === undefined ? undefined : { source: file, line }
  }
  throw configError(problemsOf(result.error.issues, locate, file))
}

/** Reads `section.key=value` as `--set` takes it: the value in TOML, or as it stands where it is none (so quotes may be left out). */
export function parseOverride(text: string, option: string): ConfigOverride {
  const match = /^([a-z_]+\.[a-z_]+)=(.*)$/s.exec(text)
  if (match === null) throw configError([{ source: option, line: undefined, key: undefined, message: 'it takes section.key=value, for example udp.port=7000.' }])
  return { key: match[1]!, value: tomlValue(match[2]!), option }
}

function tomlValue(text: string): unknown {
  try {
    return parse(`value = ${text}`)['value']
  } catch {
    return text
  }
}

function apply(document: Record<string, unknown>, override: ConfigOverride, origins: Map<string, string>): void {
  const [section = '', name = ''] = override.key.split('.')
  origins.set(placeOf([section, name]), override.option)
  // A section that is no table is wrong whatever is written over it, and the schema will say so.
  const table: unknown = (document[section] ??= {})
  if (typeof table === 'object' && table !== null && !Array.isArray(table)) Object.assign(table, { [name]: override.value })
}

function parseToml(text: string, file: string): Record<string, unknown> {
  try {
    return parse(text, { unsafeKeyBehaviour: 'throw' })
  } catch (error) {
    if (!(error instanceof TomlError)) throw error
    // The parser's message goes on with the lines themselves, which may hold a secret; its first line is the reason.
    const reason = error.message.split('\n')[0]!.replace(/^Invalid TOML document: /, '')
    const problem: ConfigProblem = { source: file, line: error.line, key: undefined, message: `column ${error.column}: this is not TOML: ${reason}.` }
    throw configError([problem])
  }
}

function readConfigFile(paths: Pick<Paths, 'config' | 'configNamed'>): { text: string; mode: number } | undefined {
  const file = paths.config
  let bytes: Uint8Array
  let mode: number
  try {
    const stat = statSync(file)
    if (!stat.isFile()) throw new PosternError('config', `${file} is not a file.`, { hint: 'Name the configuration file itself.', details: { file } })
    if (stat.size > FILE_SIZE_MAX) throw new PosternError('config', `${file} is too large for a configuration file (${stat.size} bytes).`, { hint: 'Name the right file with --config.', details: { file } })
    mode = stat.mode
    bytes = readFileSync(file)
  } catch (error) {
    if (error instanceof PosternError) throw error
    const code = error instanceof Error && 'code' in error ? error.code : undefined
    if (code === 'ENOENT' || code === 'ENOTDIR') {
      if (!paths.configNamed) return undefined
      throw new PosternError('config', `The configuration file ${file} does not exist.`, { hint: 'Correct --config, or leave it out to run on the defaults.', cause: error, details: { file } })
    }
    throw new PosternError('config', `The configuration file ${file} cannot be read (${String(code)}).`, { hint: 'Check its owner and its mode (ls -l).', cause: error, details: { file } })
  }
  const text = fromUtf8(bytes)
  if (text === undefined) throw new PosternError('config', `${file} is not UTF-8 text.`, { hint: 'Save it again as UTF-8.', details: { file } })
  return { text, mode }
}

function resolveFiles(config: Config, paths: Pick<Paths, 'config'>): Config {
  const absolute = (path: string | undefined): string | undefined => (path === undefined ? undefined : absoluteFrom(paths, path))
  return {
    ...config,
    store: { ...config.store, passphraseFile: absolute(config.store.passphraseFile) },
    ipc: { ...config.ipc, socket: absolute(config.ipc.socket) },
    log: { ...config.log, file: absolute(config.log.file) },
  }
}

function warningsFor(mode: number, config: Config, file: string): readonly string[] {
  if (process.platform === 'win32') return []
  const warnings: string[] = []
  if ((mode & 0o022) !== 0) warnings.push(`${file} can be written by other users, who thereby control this daemon: chmod go-w ${file}`)
  if ((mode & 0o044) !== 0 && config.store.passphraseFile !== undefined) {
    warnings.push(`${file} names a passphrase_file and can be read by other users; make sure that the passphrase file itself cannot: chmod 600 ${config.store.passphraseFile}`)
  }
  return warnings
}
