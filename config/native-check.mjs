// What CI does to the addon beside its tests: the same tests with the addon under AddressSanitizer and UBSan, and a short run of libFuzzer.
//   node config/native-check.mjs [sanitize] [fuzz] [--seconds=12]
// What this machine has no compiler for is skipped with a line.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { buildSanitized } from './native.mjs'

const root = fileURLToPath(new URL('..', import.meta.url))
/** Every test that calls the addon, but those in other processes, which the environment does not reach. */
const TESTS = [
  'test/platform/addon.test.ts', 'test/platform/addon-udp.test.ts', 'test/core/crypto/providers.test.ts', 'test/platform/addon-hci.test.ts', 'test/net/udp-native.test.ts', 'test/net/tcp-native.test.ts',
  'test/net/conformance.test.ts', 'test/net/network-watch.test.ts',
]
const SANITIZERS = 'address,undefined'

function run(command, args, options = {}) {
  return spawnSync(command, args, { cwd: root, stdio: 'inherit', ...options })
}

/** Where gcc has a runtime of its own; undefined when it has none. */
function runtime(name) {
  const path = spawnSync('g++', [`-print-file-name=${name}`], { encoding: 'utf8' }).stdout?.trim()
  return path !== undefined && existsSync(path) && path.includes('/') ? path : undefined
}

function sanitize(directory) {
  const asan = runtime('libasan.so')
  if (process.platform !== 'linux' || asan === undefined) {
    console.log('native-check: no AddressSanitizer here (g++ with libasan): skipped')
    return true
  }
  const { failed, path } = buildSanitized(directory, SANITIZERS)
  if (failed !== undefined) {
    console.error(`${failed.output}native-check: the addon was not built: ${failed.reason}`)
    return false
  }
  // V8 and OpenSSL keep what they have until the end of the process: that is no leak, and not ours.
  const env = {
    ...process.env, POSTERN_NATIVE: path, LD_PRELOAD: asan, ASAN_OPTIONS: 'detect_leaks=0:abort_on_error=1:detect_stack_use_after_return=0', UBSAN_OPTIONS: 'print_stacktrace=1:halt_on_error=1',
  }
  return run(process.execPath, [join(root, 'node_modules', 'vitest', 'vitest.mjs'), 'run', '--reporter=dot', ...TESTS], { env }).status === 0
}

function fuzz(directory, seconds) {
  const clang = ['clang++', 'clang++-14', 'clang++-16', 'clang++-19'].find((name) => spawnSync(name, ['--version']).status === 0)
  if (clang === undefined) {
    console.log('native-check: no clang++ here: libFuzzer is skipped')
    return true
  }
  const source = join(root, 'native', 'addon', 'src')
  const targets = [
    { name: 'netlink', sources: ['netlink-scan.cc'], libraries: [], sizeMax: 2048 },
    { name: 'aead', sources: ['aead.cc', 'aead-short.cc', 'openssl.cc'], libraries: ['-l:libcrypto.so.3', '-ldl'], sizeMax: 8192 },
  ]
  return targets.every(({ name, sources, libraries, sizeMax }) => {
    const program = join(directory, name)
    const corpus = join(directory, `${name}-corpus`)
    mkdirSync(corpus)
    const args = ['-std=c++17', '-g', '-O1', `-fsanitize=fuzzer,${SANITIZERS}`, '-fno-sanitize-recover=all', '-Wl,--no-as-needed', '-o', program, join(root, 'native', 'fuzz', `${name}.cc`), ...sources.map((file) => join(source, file)), ...libraries]
    const built = spawnSync(clang, args, { encoding: 'utf8' })
    if (built.status !== 0 && /cannot find|unable to find library/.test(built.stderr)) {
      console.log(`native-check: ${built.stderr.trim().split('\n').find((line) => /find/.test(line))}: libFuzzer of ${name} is skipped`)
      return true
    }
    if (built.status !== 0) {
      console.error(built.stderr)
      return false
    }
    const done = spawnSync(program, [`-max_total_time=${seconds}`, `-max_len=${sizeMax}`, '-print_final_stats=1', '-timeout=5', `-artifact_prefix=${directory}/`, corpus], { encoding: 'utf8', maxBuffer: 64 << 20 })
    const runs = /stat::number_of_executed_units:\s+(\d+)/.exec(done.stderr)?.[1]
    if (done.status !== 0) console.error(done.stderr)
    console.log(`native-check: libFuzzer of ${name}: ${done.status === 0 ? `${runs} inputs in ${seconds} s, nothing found` : 'FAILED'}`)
    return done.status === 0
  })
}

const directory = mkdtempSync(join(tmpdir(), 'postern-native-check-'))
const seconds = Number(process.argv.find((argument) => argument.startsWith('--seconds='))?.slice(10) ?? 12)
const wanted = process.argv.slice(2).filter((argument) => !argument.startsWith('--'))
try {
  const all = [['sanitize', () => sanitize(directory)], ['fuzz', () => fuzz(directory, seconds)]]
  if (!all.filter(([name]) => wanted.length === 0 || wanted.includes(name)).map(([, check]) => check()).every(Boolean)) process.exitCode = 1
} finally {
  rmSync(directory, { recursive: true, force: true })
}
