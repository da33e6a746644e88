import { createRequire } from 'node:module'
import { getSystemErrorName } from 'node:util'
import { PackageError } from './packages.ts'
import type { HciTransport } from './transport.ts'

/** Of a controller's channels: beside the kernel, or alone. */
const KIND = { raw: 0, user: 1 } as const

/** What the addon offers of the kernel's user channel (native/addon/src/hci.cc). */
export interface AddonHci {
  /** Throws the system's error. The callback gets each packet as bytes of its own, or once the number of the error that ended it. */
  hciOpen(device: number, kind: number, callback: (packet: Uint8Array | number) => void): object
  /** 0 or the number of the error. */
  hciWrite(channel: object, packet: Uint8Array): number
  hciClose(channel: object): void
}

/** The addon of this process, by the path that the daemon knows it under. */
export function loadAddonHci(path: string | undefined): AddonHci {
  if (process.platform !== 'linux') throw new PackageError('the backend hci is for Linux; macOS has corebluetooth')
  if (path === undefined) throw new PackageError('the backend hci needs the native addon, which is not built: `npm run build:native`')
  const addon = createRequire(import.meta.url)(path) as Partial<AddonHci>
  if (addon.hciOpen === undefined) throw new PackageError(`the addon ${path} has no user channel`)
  return addon as AddonHci
}

/** `hci0` is 0. */
export function deviceNumber(adapter: string | undefined): number {
  const number = adapter === undefined ? 0 : Number(/^hci(\d{1,4})$/.exec(adapter)?.[1] ?? Number.NaN)
  if (Number.isNaN(number)) throw new PackageError(`${adapter ?? ''} is no adapter: they are called hci0, hci1 and so on`)
  return number
}

/** What libuv has no name for (asm-generic/errno.h). */
const kernelErrors: Readonly<Record<number, string>> = { 87: 'EUSERS', 132: 'ERFKILL' }

function errorName(error: number): string {
  return kernelErrors[error] ?? getSystemErrorName(-error)
}

/**
 * For people, what stands in the way of a controller, and what to type next. By hci_sock_bind of the kernel: EBUSY is an adapter that is up, also by somebody's
 * user channel, or being set up; EUSERS one whose user channel is just being opened; what is opened afterwards brings ERFKILL and what the hardware says.
 */
const explanations: Readonly<Record<string, (adapter: string) => string>> = {
  EPERM: () => 'needs the capability CAP_NET_ADMIN: `sudo systemctl edit postern`, and there AmbientCapabilities=CAP_NET_ADMIN under [Service]',
  EBUSY: (adapter) => `is up, so bluetoothd, another posternd or another program uses it: \`sudo systemctl stop bluetooth && sudo hciconfig ${adapter} down\` leaves it to this node, the backend bluez shares it`,
  EUSERS: () => 'is driven by another program alone: `pgrep -af postern` shows whether that is another daemon of ours',
  ERFKILL: () => 'is blocked by a switch: `rfkill unblock bluetooth`',
  ENODEV: () => 'is not there: `ls /sys/class/bluetooth` shows which adapters are',
  EAFNOSUPPORT: () => 'cannot be reached, since this kernel has no Bluetooth: `sudo modprobe bluetooth`',
  ENETDOWN: (adapter) => `was switched off: \`rfkill list bluetooth\` and \`hciconfig ${adapter}\` show how`,
  ETIMEDOUT: () => 'does not answer the kernel: pull it out and put it in again, or `sudo modprobe -r btusb && sudo modprobe btusb`',
  EPIPE: () => 'was pulled out, or its driver gave it up: `sudo dmesg | tail` shows which',
}
const sameAs: Readonly<Record<string, string>> = { EACCES: 'EPERM', EALREADY: 'EUSERS', EPROTONOSUPPORT: 'EAFNOSUPPORT', EIO: 'ETIMEDOUT' }

/** The whole controller, for us alone; or, `raw`, beside a kernel that does what it likes with it, which is good for looking only. */
export function openUserChannel(addon: AddonHci, device: number, kind: keyof typeof KIND = 'user'): Promise<HciTransport> {
  let take: (packet: Uint8Array) => void = () => undefined
  let closed: (why: string) => void = () => undefined
  let isOpen = true
  let channel: object
  const end = (why: string): void => {
    if (!isOpen) return
    isOpen = false
    addon.hciClose(channel)
    closed(why)
  }
  try {
    channel = addon.hciOpen(device, KIND[kind], (packet) => {
      if (typeof packet === 'number') end(describe(device, errorName(packet)))
      else if (isOpen) take(packet)
    })
  } catch (error) {
    const code = error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : 'unknown'
    return Promise.reject(Object.assign(new Error(describe(device, code)), { code }))
  }
  return Promise.resolve({
    write: (packet) => {
      const error = isOpen ? addon.hciWrite(channel, packet) : 0
      // Not from inside the call: whoever writes does not expect that its controller is gone when it returns.
      if (error !== 0) queueMicrotask(() => end(describe(device, errorName(error))))
    },
    start: (onPacket, onClosed) => {
      take = onPacket
      closed = onClosed
    },
    close: () => end('closed'),
  })
}

function describe(device: number, code: string): string {
  const adapter = `hci${device}`
  return `${adapter} ${explanations[sameAs[code] ?? code]?.(adapter) ?? `failed with ${code}: \`sudo dmesg | tail\` may say more`}`
}
