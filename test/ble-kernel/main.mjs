// `npm run test:ble-kernel`: boots a Linux kernel of Debian in qemu, with this machine's files below it and two emulated Bluetooth controllers, and runs the
// backends there: beside the kernel (raw), on the user channel, and through bluetoothd over D-Bus. It installs nothing; it says what is missing.
import { spawn, spawnSync } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const here = dirname(fileURLToPath(import.meta.url))
const wanted = process.argv.slice(2).filter((word) => !word.startsWith('-'))
const suites = wanted.length > 0 ? wanted : ['raw', 'user-channel', 'dbus']
const isVerbose = process.argv.includes('--verbose')
/** The whole of it takes about a minute where qemu has to translate every instruction. */
const TIMEOUT_MS = 240_000

/** A kernel with its modules, unpacked or installed. */
function findKernel() {
  for (const root of [process.env.POSTERN_BLE_KERNEL, join(homedir(), '.cache/postern-ble-kernel'), '/'].filter((path) => path !== undefined)) {
    const modules = join(root, 'lib/modules')
    for (const release of existsSync(modules) ? readdirSync(modules).sort().reverse() : []) {
      if (existsSync(join(root, 'boot', `vmlinuz-${release}`)) && existsSync(join(modules, release, 'kernel/drivers/bluetooth/hci_vhci.ko'))) return { root, release }
    }
  }
  return undefined
}

const programs = {
  'qemu-system-x86_64': 'qemu-system-x86', '/bin/busybox': 'busybox-static', cpio: 'cpio', modprobe: 'kmod', btvirt: 'bluez-test-tools', hciconfig: 'bluez', 'dbus-daemon': 'dbus-daemon',
  '/usr/libexec/bluetooth/bluetoothd': 'bluez',
}

function whatIsMissing() {
  const missing = Object.entries(programs).filter(([program]) => spawnSync('sh', ['-c', `PATH="$PATH:/usr/sbin:/sbin" command -v ${program}`]).status !== 0).map(([, name]) => name)
  const lines = []
  if (missing.length > 0) lines.push(`apt-get install --no-install-recommends ${[...new Set(missing)].join(' ')}`)
  if (findKernel() === undefined) lines.push('mkdir -p ~/.cache/postern-ble-kernel && cd ~/.cache/postern-ble-kernel && apt-get download linux-image-6.1.0-NN-amd64 && dpkg -x linux-image-*.deb . && depmod -b . 6.1.0-NN-amd64   (the newest NN; not the cloud image)')
  return lines
}

function run(command, args, options = {}) {
  const done = spawnSync(command, args, { encoding: 'utf8', env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` }, ...options })
  if (done.status !== 0) throw new Error(`${command} ${args.join(' ')}: ${done.stderr || done.error?.message || done.status}`)
  return done.stdout
}

/** The modules that the guest needs, in the order in which they are loaded. Some are built into some kernels. */
function modulesOf({ root, release }) {
  const files = new Set()
  for (const name of ['virtio_pci', '9pnet_virtio', '9p', 'overlay', 'bluetooth', 'hci_vhci', 'af_alg', 'algif_hash', 'algif_skcipher', 'ecb', 'cmac', 'ccm', 'uhid']) {
    for (const line of run('modprobe', ['-d', root, '-S', release, '--show-depends', name]).split('\n')) {
      const file = /^insmod (\S+)/.exec(line)?.[1]
      if (file !== undefined) files.add(file)
    }
  }
  return [...files]
}

const init = (directory, words) => `#!/bin/busybox sh
B=/bin/busybox
$B mount -t proc p /proc; $B mount -t sysfs s /sys; $B mount -t devtmpfs d /dev
for m in /mods/*; do $B insmod $m || echo "insmod $m failed"; done
$B mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144,cache=loose,ro host /lower || echo 9p failed
$B mount -t tmpfs t /up; $B mkdir -p /up/u /up/w
$B mount -t overlay -o lowerdir=/lower,upperdir=/up/u,workdir=/up/w o /mnt || echo overlay failed
$B mount -t devtmpfs d /mnt/dev && $B mount -t sysfs s /mnt/sys && $B mount -t proc p /mnt/proc && $B mount -t tmpfs t /mnt/run && $B mount -t tmpfs t /mnt/tmp || echo mounts failed
$B ls /mnt/sys/class/rfkill > /dev/null || echo no rfkill in sysfs
$B chroot /mnt /bin/bash ${directory}/guest.sh ${words.join(' ')}
$B sync; $B poweroff -f
`

function makeInitrd(kernel, directory) {
  const tree = join(directory, 'initrd')
  for (const name of ['bin', 'proc', 'sys', 'dev', 'mnt', 'lower', 'up', 'mods']) mkdirSync(join(tree, name), { recursive: true })
  copyFileSync('/bin/busybox', join(tree, 'bin/busybox'))
  modulesOf(kernel).forEach((file, i) => copyFileSync(file, join(tree, 'mods', `${String(i).padStart(3, '0')}-${basename(file)}`)))
  writeFileSync(join(tree, 'init'), init(here, suites), { mode: 0o755 })
  run('sh', ['-c', 'find . | cpio -o -H newc --quiet | gzip -1 > ../initrd.gz'], { cwd: tree })
  return join(directory, 'initrd.gz')
}

const missing = whatIsMissing()
if (missing.length > 0) {
  console.log(`test:ble-kernel: skipped, this is missing:\n${missing.map((line) => `  ${line}`).join('\n')}`)
  process.exit(process.env.CI === 'true' && process.env.POSTERN_BLE_KERNEL_OPTIONAL !== '1' ? 1 : 0)
}

const directory = mkdtempSync(join(tmpdir(), 'ble-kernel-'))
const started = Date.now()
try {
  const kernel = findKernel()
  const initrd = makeInitrd(kernel, directory)
  const accelerator = process.env.POSTERN_QEMU_ACCELERATOR ?? 'tcg,thread=multi'
  const qemu = spawn('qemu-system-x86_64', [
    '-accel', accelerator, '-cpu', 'max', '-smp', '2', '-m', '1536', '-display', 'none', '-serial', 'stdio', '-no-reboot', '-nodefaults',
    '-kernel', join(kernel.root, 'boot', `vmlinuz-${kernel.release}`), '-initrd', initrd, '-append', 'console=ttyS0 quiet panic=-1 mitigations=off',
    '-fsdev', 'local,id=h,path=/,security_model=none,readonly=on,multidevs=remap', '-device', 'virtio-9p-pci,fsdev=h,mount_tag=host',
  ], { stdio: ['ignore', 'pipe', 'inherit'] })
  const timer = setTimeout(() => qemu.kill('SIGKILL'), TIMEOUT_MS)
  const lines = []
  let rest = ''
  qemu.stdout.setEncoding('utf8')
  qemu.stdout.on('data', (text) => {
    const parts = (rest + text).split(/\r?\n/)
    rest = parts.pop()
    for (const line of parts) {
      lines.push(line)
      if (isVerbose || /^(PASS|FAIL|BOOT)\b/.test(line)) console.log(line)
    }
  })
  await new Promise((resolve) => void qemu.on('exit', resolve))
  clearTimeout(timer)
  const passed = suites.filter((suite) => lines.some((line) => line.startsWith(`PASS ${suite} `)))
  if (passed.length < suites.length && !isVerbose) console.log(lines.slice(-80).join('\n'))
  console.log(`test:ble-kernel: ${passed.length} passed, ${suites.length - passed.length} failed, ${((Date.now() - started) / 1000).toFixed(0)} s with boot, Linux ${kernel.release}`)
  process.exitCode = passed.length === suites.length ? 0 : 1
} finally {
  rmSync(directory, { recursive: true, force: true })
}
