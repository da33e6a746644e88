#!/usr/bin/env node
import { Command } from 'commander'
import { fromUtf8, wipe } from '../core/base/bytes.ts'
import { PosternError } from '../core/base/errors.ts'
import type { KeySource } from '../store/keys.ts'
import { checkConfig, resolveStart, type DaemonArguments, type ResolvedStart } from './command-line.ts'
import { report, startInBackground } from './background.ts'
import { checkFailedText, checkedText } from './config/config-report.ts'
import { readPassphrase, type Terminal } from './config/config-passphrase.ts'
import { Daemon } from './daemon.ts'
import { exitStatus } from '../core/base/exit-status.ts'
import { DaemonLog } from './log/log.ts'
import { chooseNative } from './native.ts'
import { ServiceManager } from '../platform/service-manager.ts'
import { usageError, withTypedUsage } from '../platform/usage-error.ts'
import { version } from '../platform/version.ts'

/** One Ctrl-C comes more than once: the terminal sends it to npm, to its script and to the daemon, and each passes it on. */
const SAME_WISH_MS = 250

/** Beside draining: closing the state on a slow disk. */
const STOP_MS = 10_000

/** `posternd`: the daemon in the foreground, until a signal or a client ends it. */
async function main(): Promise<void> {
  const program = withTypedUsage(new Command('posternd'))
    .description('Postern, the daemon: one encrypted line from programs on this machine to programs on others.')
    .version(version)
    .option('--dir <path>', 'put configuration, state and socket of this instance under one directory (also POSTERN_DIR)')
    .option('--config <file>', 'read this configuration file')
    .option('--port <number>', 'UDP port; 0 draws one at the first start and keeps it')
    .option('--log-level <level>', 'trace, debug, info, warn or error')
    .option('--set <section.key=value...>', 'one configuration key, before the file; may be given several times')
    .option('--check', 'check the configuration, print what is wrong with it or what rules, and end')
    .option('--json', 'with --check: print one JSON object')
    .option('--background', 'start in the background, and return when the daemon is ready')
    .addHelpText('after', '\nIt stays in the foreground and stops on Ctrl-C. In the background: postern up (or --background)\nEvery configuration key, with comments: config/postern.toml')
    .allowExcessArguments(false)
  try {
    program.parse()
  } catch (error) {
    const usage = usageError(error, program, process.argv.slice(2))
    if (usage === 'shown') return
    throw usage ?? error
  }
  const args = program.opts<DaemonArguments & { readonly background?: true; readonly check?: true; readonly json?: true }>()
  if (args.check === true) {
    process.exitCode = printCheck(args, args.json === true)
    return
  }
  const start = resolveStart(args)
  if (args.background === true) {
    await goToBackground(start)
    return
  }
  const { level, format, file } = start.loaded.config.log
  const log = new DaemonLog({ level, format, file })
  const stopReopening = log.reopenOnHangup()
  for (const warning of start.loaded.warnings) log.warn(warning)
  const status = await runDaemon(start, log)
  stopReopening()
  await log.close()
  process.exitCode = status
}

/** `--check`: the exit status. */
function printCheck(args: DaemonArguments, json: boolean): number {
  try {
    const checked = checkConfig(args)
    process.stdout.write(json ? `${JSON.stringify(checked)}\n` : checkedText(checked))
    return 0
  } catch (error) {
    if (!(error instanceof PosternError)) throw error
    if (json) process.stdout.write(`${JSON.stringify({ error: { code: error.code, message: error.message, hint: error.hint, problems: error.details?.['problems'] } })}\n`)
    else process.stderr.write(checkFailedText(error))
    return exitStatus(error.code)
  }
}

/** The same command line once more, without `--background`; what must be asked on this terminal is asked now. */
async function goToBackground(start: ResolvedStart): Promise<void> {
  const { store, log } = start.loaded.config
  const passphrase = store.key === 'passphrase' && store.passphraseFile === undefined ? fromUtf8(await readPassphrase({ env: process.env, file: undefined, terminal: terminalOf() })) : undefined
  const args = [...process.argv.slice(2).filter((arg) => arg !== '--background')]
  const ready = await startInBackground(args, start.paths.state, log.file, passphrase)
  process.stdout.write(`${JSON.stringify(ready)}\n`)
}

/** Runs until the end; the exit status. */
async function runDaemon(start: ResolvedStart, log: DaemonLog): Promise<number> {
  const { config } = start.loaded
  let status = 0
  let end: (reason: string) => void = () => undefined
  const ended = new Promise<string>((resolve) => {
    end = resolve
  })
  const native = chooseNative(config.native)
  const manager = ServiceManager.of({
    environment: process.env, system: native.system, onRefused: (reason) => log.warn('the service manager could not be told', { reason }),
  })
  const daemon = await Daemon.start({
    config, paths: start.paths, log, native, keys: keySources(start, log),
    onFatal: (error) => {
      status = exitStatus(error.code)
      end(error.message)
    },
    onShutdown: () => end('a client asked for it'),
  }).catch(async (error: unknown) => {
    manager?.status(error instanceof Error ? error.message : String(error))
    await manager?.close()
    throw error
  })
  log.info('ready', { peerId: daemon.peerId, version, udpPort: daemon.port, socket: daemon.socket, state: daemon.stateDirectory, config: start.loaded.file ?? 'defaults', pid: process.pid })
  manager?.ready(`Ready as ${daemon.peerId} on UDP port ${daemon.port}`)
  report({ kind: 'ready', peerId: daemon.peerId, udpPort: daemon.port, socket: daemon.socket, pid: process.pid, log: config.log.file ?? '' })
  let firstAt: number | undefined
  const onSignal = (signal: NodeJS.Signals, number: number): void => {
    const now = performance.now()
    firstAt ??= now
    // The second time somebody means it: what is queued is lost, what is stored is not.
    if (now - firstAt > SAME_WISH_MS) process.exit(128 + number)
    end(signal)
  }
  process.on('SIGINT', onSignal)
  process.on('SIGTERM', onSignal)
  // The log is on a terminal, and the terminal was closed. Otherwise it means to open the log anew.
  if (config.log.file === undefined && process.stderr.isTTY) process.on('SIGHUP', onSignal)
  const reason = await ended
  log.info('stopping', { reason, drainS: config.shutdown.drain / 1_000_000 })
  manager?.stopping(`Stopping: ${reason}`, config.shutdown.drain / 1000 + STOP_MS)
  await daemon.stop()
  await manager?.close()
  log.info('stopped')
  process.off('SIGINT', onSignal)
  process.off('SIGTERM', onSignal)
  process.off('SIGHUP', onSignal)
  return status
}

function keySources({ loaded }: ResolvedStart, log: DaemonLog): readonly KeySource[] | undefined {
  const { key, passphraseFile } = loaded.config.store
  if (key === 'file') return undefined
  const terminal = terminalOf()
  const ask = async (request: { readonly purpose: 'create' | 'open'; readonly attempt: number }): Promise<string | undefined> => {
    // Only a person can try again: the environment and a file say the same each time.
    if (request.attempt > 1 && terminal === undefined) return undefined
    const sources = request.attempt > 1 ? { env: {}, file: undefined, terminal } : { env: process.env, file: passphraseFile, terminal }
    const bytes = await readPassphrase(sources, request.purpose === 'create' ? 'New passphrase: ' : request.attempt > 1 ? 'Wrong. Passphrase: ' : 'Passphrase: ')
    const text = fromUtf8(bytes)
    wipe(bytes)
    if (text === undefined) throw new PosternError('passphrase', 'The passphrase is not UTF-8 text.', { hint: 'Save it as UTF-8.' })
    log.hide(text)
    return text
  }
  return [{ kind: 'passphrase', ask }]
}

function terminalOf(): Terminal | undefined {
  return process.stdin.isTTY && process.stderr.isTTY ? { input: process.stdin, output: process.stderr } : undefined
}

main().catch((error: unknown) => {
  const known = error instanceof PosternError ? error : new PosternError('internal', error instanceof Error ? error.stack ?? error.message : String(error))
  report({ kind: 'failed', code: known.code, message: known.message, hint: known.hint })
  process.stderr.write(`posternd: ${known.message} [${known.code}]\n`)
  if (known.hint !== undefined) process.stderr.write(`  ${known.hint}\n`)
  process.exitCode = exitStatus(known.code)
})
