// Brings a checkout to the state in which the product can run: installs packages and builds dist/ when either is
// missing or older than what it is made from. Plain JavaScript, because it runs before anything was installed.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { buildIfPossible, nativeIsFresh } from './native.mjs'

export const root = fileURLToPath(new URL('..', import.meta.url))

const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
if (major < 20 || (major === 20 && minor < 19)) {
  console.error(`Postern needs Node.js 20.19 or newer; this is ${process.version}. Install a newer one (https://nodejs.org) and try again.`)
  process.exit(69)
}

/** Hash of the names and contents of everything below `paths`. */
function digestOf(paths) {
  const hash = createHash('sha256')
  const visit = (path) => {
    if (!existsSync(path)) return
    if (statSync(path).isDirectory()) {
      for (const name of readdirSync(path).sort()) visit(join(path, name))
    } else {
      hash.update(path.slice(root.length)).update('\0').update(readFileSync(path)).update('\0')
    }
  }
  for (const path of paths) visit(join(root, path))
  return hash.digest('hex')
}

const stampOf = (file) => (existsSync(file) ? readFileSync(file, 'utf8') : '')

function run(title, command, args) {
  process.stderr.write(`postern: ${title} …\n`)
  const started = Date.now()
  const done = spawnSync(command, args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'], encoding: 'utf8', maxBuffer: 64 << 20 })
  if (done.status !== 0) {
    process.stderr.write(`${done.stdout ?? ''}${done.stderr ?? ''}\n`)
    throw new SetupError(`${title} failed${done.error ? ` (${done.error.message})` : ''}. The output above says why.`, done.status ?? 1)
  }
  process.stderr.write(`postern: ${title}: done in ${((Date.now() - started) / 1000).toFixed(1)} s\n`)
}

class SetupError extends Error {
  constructor(message, status) {
    super(message)
    this.status = status
  }
}

const installStamp = () => join(root, 'node_modules', '.postern-install')

/** What is built: beside its sources, the directory it goes to. `demo` needs the types of `product`. */
const builds = {
  product: { title: 'building', project: 'tsconfig.build.json', output: 'dist', sources: ['src', 'tsconfig.json', 'tsconfig.build.json', 'package-lock.json'] },
  demo: { title: 'building the demo', project: 'test/demo/tsconfig.build.json', output: 'dist-demo', sources: ['test/demo', 'src/client', 'tsconfig.json', 'package-lock.json'] },
}

const buildStamp = (output) => join(root, output, '.postern-build')

/**
 * Installs and builds what is missing or stale; silent when nothing is to be done. Two at a time are one after the other. A build that
 * fails leaves what was built before as it is.
 */
export function setUp(names = ['product']) {
  const lockfile = digestOf(['package-lock.json'])
  const wanted = names.map((name) => ({ ...builds[name], digest: digestOf(builds[name].sources) }))
  const stale = () => wanted.filter(({ output, digest }) => stampOf(buildStamp(output)) !== digest)
  if (stampOf(installStamp()) === lockfile && stale().length === 0 && nativeIsFresh()) return
  const unlock = lock()
  try {
    if (stampOf(installStamp()) !== lockfile) {
      run('installing packages', process.platform === 'win32' ? 'npm.cmd' : 'npm', ['ci', '--no-fund', '--no-audit'])
      writeFileSync(installStamp(), lockfile)
    }
    for (const { title, project, output, digest } of stale()) {
      const [fresh, old] = [join(root, `${output}.new`), join(root, `${output}.old`)]
      for (const directory of [fresh, old]) rmSync(directory, { recursive: true, force: true })
      mkdirSync(fresh)
      run(title, process.execPath, [join(root, 'node_modules', 'typescript', 'bin', 'tsc'), '-p', project, '--outDir', fresh, '--incremental', 'false', '--tsBuildInfoFile', 'null'])
      writeFileSync(join(fresh, '.postern-build'), digest)
      if (existsSync(join(root, output))) renameSync(join(root, output), old)
      renameSync(fresh, join(root, output))
      rmSync(old, { recursive: true, force: true })
    }
    buildIfPossible()
  } catch (error) {
    if (!(error instanceof SetupError)) throw error
    console.error(`postern: ${error.message}`)
    unlock()
    process.exit(error.status)
  } finally {
    unlock()
  }
}

/** Waits until no other process sets up this checkout. One that died in the middle counts as none. */
function lock() {
  const file = join(root, '.setup-lock')
  let told = false
  for (;;) {
    try {
      writeFileSync(file, `${process.pid}`, { flag: 'wx' })
      return () => rmSync(file, { force: true })
    } catch (error) {
      if (error.code !== 'EEXIST') throw error
    }
    if (!isHeld(file)) {
      rmSync(file, { force: true })
      continue
    }
    if (!told) process.stderr.write('postern: waiting for another process that installs or builds …\n')
    told = true
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200)
  }
}

/** Whether the process that made the lock is alive. It writes its pid a moment after it made the file, or died in between. */
function isHeld(file) {
  const pid = Number(stampOf(file))
  if (pid === 0) return Date.now() - (statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0) < 5000
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return error.code === 'EPERM'
  }
}
