// Builds native/addon. As a program (`npm run build:native`) it says what went wrong and exits with 1; from config/setup.mjs and at
// `npm ci` a machine that cannot build it goes on without: then the twins in TypeScript do the work, slower.
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { closeSync, copyFileSync, cpSync, existsSync, mkdirSync, openSync, readFileSync, readdirSync, readSync, realpathSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { delimiter, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const addon = join(root, 'native', 'addon')
const built = join(addon, 'built')
/** As src/platform/addon.ts has it: the two C libraries of Linux share no binaries, and node's first page names the one that it runs on. */
const tag = process.platform === 'linux' && headOf(process.execPath).includes('/ld-musl-') ? '-musl' : ''
const prebuilt = join(addon, 'prebuilds', `${process.platform}-${process.arch}${tag}`)
const STAMP = '.stamp'
const reasonFile = join(built, 'reason.txt')
/** Long enough for a slow machine; a download of headers that hangs must not keep a daemon from starting for ever. */
const TIMEOUT_MS = 180_000
const WITHOUT_NATIVE = 'Postern works without it: datagrams then go through node:dgram and node:crypto, at a fraction of the speed.'

function headOf(program) {
  const head = Buffer.alloc(4096)
  const file = openSync(program, 'r')
  readSync(file, head, 0, head.length, 0)
  closeSync(file)
  return head
}

/** Sources and platform: a checkout that was copied to another machine is built again there. */
function digestOfSources() {
  const hash = createHash('sha256').update(`${process.platform}-${process.arch}${tag}`)
  for (const name of ['binding.gyp', ...readdirSync(join(addon, 'src')).sort().map((file) => join('src', file))]) {
    hash.update(name).update('\0').update(readFileSync(join(addon, name))).update('\0')
  }
  return hash.digest('hex')
}

function onPath(...names) {
  const directories = (process.env.PATH ?? '').split(delimiter)
  return names.map((name) => directories.map((directory) => join(directory, name)).find((path) => existsSync(path))).find((path) => path !== undefined)
}

/** node-gyp comes with npm, which says where it is to the scripts it runs. */
function nodeGyp() {
  const npm = process.env.npm_execpath ?? onPath('npm')
  const candidates = [process.env.npm_config_node_gyp]
  if (npm !== undefined && existsSync(npm)) candidates.push(join(dirname(realpathSync(npm)), '..', 'node_modules', 'node-gyp', 'bin', 'node-gyp.js'))
  return candidates.find((path) => path !== undefined && existsSync(path))
}

/** What keeps this machine from building, in words; undefined when nothing is known to. */
function missing() {
  if (process.platform === 'win32') return 'there is no addon for Windows yet'
  if (nodeGyp() === undefined) return 'node-gyp was not found (it comes with npm)'
  if (onPath('python3', 'python') === undefined) return 'python3 is not installed'
  if (onPath('make', 'gmake') === undefined) return 'make is not installed'
  if (process.env.CXX === undefined && onPath('g++', 'clang++', 'c++') === undefined) return 'no C++ compiler is installed (g++ or clang++)'
  return undefined
}

/** Headers beside the running node, so that nothing is downloaded. */
function headers() {
  const prefix = join(dirname(realpathSync(process.execPath)), '..')
  const given = process.env.npm_config_nodedir
  return [given, prefix].find((directory) => directory !== undefined && existsSync(join(directory, 'include', 'node', 'node_api.h')))
}

function compile(args, directory = addon) {
  const nodedir = headers()
  const command = [nodeGyp(), 'rebuild', '--directory', directory, ...(nodedir === undefined ? [] : [`--nodedir=${nodedir}`]), ...args]
  const done = spawnSync(process.execPath, command, { cwd: directory, stdio: ['ignore', 'pipe', 'pipe'], encoding: 'utf8', maxBuffer: 64 << 20, timeout: TIMEOUT_MS })
  if (done.status === 0) return undefined
  const output = `${done.stdout ?? ''}${done.stderr ?? ''}`
  const line = output.split('\n').find((text) => /error:|gyp ERR! stack Error/.test(text)) ?? done.error?.message ?? `node-gyp ended with ${done.status ?? done.signal}`
  return { reason: line.replace(/^gyp ERR! stack /, '').trim(), output }
}

/** Beside the old one, then renamed over it: a running daemon keeps the library that it has mapped. */
function place(directory) {
  mkdirSync(directory, { recursive: true })
  const fresh = join(directory, `postern.node.${process.pid}`)
  copyFileSync(join(addon, 'build', 'Release', 'postern.node'), fresh)
  renameSync(fresh, join(directory, 'postern.node'))
  writeFileSync(join(directory, STAMP), digestOfSources())
}

/** Whether there is nothing for {@link buildNative} to do: it was built, or shipped, from these sources, or could not be. */
export function nativeIsFresh() {
  if (!existsSync(join(addon, 'src'))) return true
  const digest = digestOfSources()
  return [built, prebuilt].some((directory) => existsSync(join(directory, STAMP)) && readFileSync(join(directory, STAMP), 'utf8') === digest)
}

/**
 * Builds the addon when it is missing or older than its sources. Returns why it could not, which is also kept beside it for
 * `postern status`; tried again only when the sources change, or with `force`.
 */
export function buildNative({ force = false } = {}) {
  if (!force && nativeIsFresh()) return undefined
  const lacking = missing()
  if (lacking === undefined) process.stderr.write('postern: building the native addon …\n')
  const failed = lacking === undefined ? compile([]) : { reason: lacking, output: '' }
  mkdirSync(built, { recursive: true })
  if (failed === undefined) {
    place(built)
    rmSync(reasonFile, { force: true })
  } else {
    // One that was built from other sources would be refused anyway.
    rmSync(join(built, 'postern.node'), { force: true })
    writeFileSync(reasonFile, `${failed.reason}\n`)
    writeFileSync(join(built, STAMP), digestOfSources())
  }
  return failed
}

/** A build apart, under the sanitizers named as -fsanitize wants them: where it is, or why it could not be done. */
export function buildSanitized(directory, sanitizers) {
  const lacking = missing()
  if (lacking !== undefined) return { failed: { reason: lacking, output: '' } }
  const copy = join(directory, 'addon')
  cpSync(join(addon, 'binding.gyp'), join(copy, 'binding.gyp'))
  cpSync(join(addon, 'src'), join(copy, 'src'), { recursive: true })
  const failed = compile([`--sanitize=${sanitizers}`], copy)
  return { failed, path: join(copy, 'build', 'Release', 'postern.node') }
}

/** For `npm ci` and `npm install`: a line on what is missing, never a failure. */
export function buildIfPossible() {
  const failed = buildNative()
  if (failed !== undefined) console.error(`postern: the native addon was not built: ${failed.reason}. ${WITHOUT_NATIVE}`)
}

if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  const failed = buildNative({ force: true })
  if (failed !== undefined) {
    console.error(`${failed.output}postern: the native addon was not built: ${failed.reason}. ${WITHOUT_NATIVE}`)
    process.exit(1)
  }
  if (process.argv.includes('--prebuild')) place(prebuilt)
}
