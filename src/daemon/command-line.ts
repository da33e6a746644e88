import { homedir } from 'node:os'
import { resolvePaths, withSocket, type Paths } from './paths.ts'
import { loadConfig, parseOverride, type ConfigOverride, type LoadedConfig } from './config.ts'

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
  const paths = resolvePaths({
    platform: process.platform, uid: process.getuid?.() ?? 0, home: homedir(), cwd: process.cwd(), env: process.env, dir: args.dir, config: args.config,
  })
  const overrides: ConfigOverride[] = (args.set ?? []).map((text) => parseOverride(text, '--set'))
  if (args.port !== undefined) overrides.push({ ...parseOverride(`udp.port=${args.port}`, '--port'), option: '--port' })
  if (args.logLevel !== undefined) overrides.push({ key: 'log.level', value: args.logLevel, option: '--log-level' })
  const loaded = loadConfig(paths, overrides)
  return { paths: withSocket(paths, loaded.config.ipc.socket), loaded }
}
