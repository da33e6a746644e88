import { homedir } from 'node:os'
import { resolvePaths, withSocket, type Paths } from './paths.ts'
import { effectiveKeys, loadConfig, parseOverride, type ConfigOverride, type EffectiveKey, type LoadedConfig } from './config/config.ts'

/** Options that posternd and `postern up` share, as commander gives them. */
export interface DaemonArguments {
  readonly dir?: string
  readonly config?: string
  readonly port?: string
  readonly logLevel?: string
  readonly set?: readonly string[]
}

export interface ResolvedStart {
  readonly paths: Paths
  readonly loaded: LoadedConfig
}

/** Where things are and what the configuration says. Throws `config`. */
export function resolveStart(args: DaemonArguments): ResolvedStart {
  const paths = pathsOf(args)
  const loaded = loadConfig(paths, overridesOf(args))
  return { paths: withSocket(paths, loaded.config.ipc.socket), loaded }
}

/** What `posternd --check` says of a configuration that can be used. */
export interface CheckedConfig {
  /** The file, whether it is there or not. */
  readonly file: string
  readonly present: boolean
  readonly warnings: readonly string[]
  readonly keys: readonly EffectiveKey[]
}

/** Everything a start would find out from the configuration, without starting. Throws `config`. */
export function checkConfig(args: DaemonArguments): CheckedConfig {
  const { paths, loaded } = resolveStart(args)
  return { file: paths.config, present: loaded.file !== undefined, warnings: loaded.warnings, keys: effectiveKeys(paths, overridesOf(args)) }
}

function pathsOf(args: DaemonArguments): Paths {
  return resolvePaths({
    platform: process.platform, uid: process.getuid?.() ?? 0, home: homedir(), cwd: process.cwd(), env: process.env, dir: args.dir, config: args.config,
  })
}

function overridesOf(args: DaemonArguments): readonly ConfigOverride[] {
  const overrides: ConfigOverride[] = (args.set ?? []).map((text) => parseOverride(text, '--set'))
  if (args.port !== undefined) overrides.push({ ...parseOverride(`udp.port=${args.port}`, '--port'), option: '--port' })
  if (args.logLevel !== undefined) overrides.push({ key: 'log.level', value: args.logLevel, option: '--log-level' })
  return overrides
}
