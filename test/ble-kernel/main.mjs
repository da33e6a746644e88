// `npm run test:ble-kernel`: boots a Linux kernel in qemu with two emulated Bluetooth controllers, and runs the backends there, and daemons with them: beside the kernel
// (raw), on the user channel, and through bluetoothd over D-Bus. `--install` brings what is missing, as CI does; otherwise it says what that is.
// In CI a suite that fails is run once more, and AGAIN says so.
import { spawn } from 'node:child_process'
import { accessSync, constants, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { makeImage } from './image.mjs'
import { findKernel, install, whatIsMissing } from './needs.mjs'

const wanted = process.argv.slice(2).filter((word) => !word.startsWith('-'))
const suites = wanted.length > 0 ? wanted : ['raw', 'user-channel', 'user-channel-nodes', 'dbus', 'dbus-nodes']
const isVerbose = process.argv.includes('--verbose')
/** About a minute and a half where qemu has to translate every instruction; the suites have limits of their own, which end one that hangs sooner. */
const WHOLE_MS = 600_000
/** A guest under KVM that has not begun by then never will: nested virtualization does that. */
const KVM_BOOT_MS = 20_000

/** Processors that can, and a device that may be opened. */
function hasKvm() {
  try {
    accessSync('/dev/kvm', constants.R_OK | constants.W_OK)
    return /\b(vmx|svm)\b/.test(readFileSync('/proc/cpuinfo', 'utf8'))
  } catch {
    return false
  }
}

/** What the guest said, line by line; undefined if it has not booted within `bootMs`. */
async function boot(kernel, image, accelerator, bootMs) {
  const qemu = spawn('qemu-system-x86_64', [
    '-accel', accelerator, '-cpu', 'max', '-smp', '2', '-m', '1536', '-display', 'none', '-serial', 'stdio', '-no-reboot', '-nodefaults',
    '-kernel', join(kernel.root, 'boot', `vmlinuz-${kernel.release}`), '-initrd', image, '-append', 'console=ttyS0 quiet panic=-1 mitigations=off random.trust_cpu=on',
  ], { stdio: ['ignore', 'pipe', 'inherit'] })
  guest = qemu
  const lines = []
  let hasBooted = false
  const timers = [[WHOLE_MS, () => true], [bootMs, () => !hasBooted]].map(([milliseconds, isDue]) => setTimeout(() => isDue() && qemu.kill('SIGKILL'), milliseconds))
  let rest = ''
  qemu.stdout.setEncoding('utf8')
  qemu.stdout.on('data', (text) => {
    const parts = (rest + text).split(/\r?\n/)
    rest = parts.pop()
    for (const line of parts) {
      hasBooted ||= line.startsWith('BOOT ')
      lines.push(line)
      if (isVerbose || /^(PASS|FAIL|BOOT|AGAIN)\b/.test(line)) console.log(line)
    }
  })
  await new Promise((resolve) => void qemu.on('close', resolve))
  for (const timer of timers) clearTimeout(timer)
  return hasBooted ? lines : undefined
}

/** Whoever ends this program leaves no guest behind, and no files. */
let guest
let isEnded = false
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.on(signal, () => {
    isEnded = true
    guest?.kill('SIGKILL')
  })
}

const failed = process.argv.includes('--install') ? install() : undefined
const missing = whatIsMissing()
if (missing.length > 0) {
  console.log(`test:ble-kernel: skipped, this is missing: ${missing.join('; ')}${failed === undefined ? '' : ` (${failed})`}`)
  process.exit(process.env.CI === 'true' ? 1 : 0)
}

const directory = mkdtempSync(join(tmpdir(), 'ble-kernel-'))
const started = Date.now()
try {
  const kernel = findKernel()
  const image = makeImage(kernel, directory, suites)
  const emulated = 'tcg,thread=multi'
  const accelerator = process.env.POSTERN_QEMU_ACCELERATOR ?? (hasKvm() ? 'kvm' : emulated)
  console.log(`test:ble-kernel: Linux ${kernel.release}, ${accelerator === 'kvm' ? 'KVM' : 'no KVM: every instruction is translated'}`)
  let lines = await boot(kernel, image, accelerator, accelerator === 'kvm' ? KVM_BOOT_MS : WHOLE_MS)
  if (lines === undefined && accelerator === 'kvm' && !isEnded) {
    console.log('test:ble-kernel: the guest did not begin under KVM; once more without')
    lines = await boot(kernel, image, emulated, WHOLE_MS)
  }
  const passed = suites.filter((suite) => lines?.some((line) => line.startsWith(`PASS ${suite} `)))
  if (passed.length < suites.length && !isVerbose) console.log((lines ?? []).slice(-150).join('\n'))
  console.log(`test:ble-kernel: ${passed.length} passed, ${suites.length - passed.length} failed, ${((Date.now() - started) / 1000).toFixed(0)} s with boot`)
  process.exitCode = passed.length === suites.length ? 0 : 1
} finally {
  rmSync(directory, { recursive: true, force: true })
}
