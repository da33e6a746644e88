import { existsSync, readFileSync, readdirSync } from 'node:fs'
import type { BackendName } from '../../net/ble/backend.ts'

/** Where Linux lists its Bluetooth adapters: hci0, hci1, … Links of those appear there too, with a colon. */
const ADAPTERS = '/sys/class/bluetooth'
/** What this process may do, as a bit mask; capabilities(7): bit 12 is CAP_NET_ADMIN, which the backend's process inherits. */
const CAPABILITIES = '/proc/self/status'
const NET_ADMIN = 1n << 12n
const PROCESSES = '/proc'
const SYSTEM_BUS = '/run/dbus/system_bus_socket'

/** What a cheap look at the machine says: no process is started for it. */
export type AdapterLook =
  | { readonly kind: 'found'; readonly backend: BackendName }
  | { readonly kind: 'none'; readonly reason: string }

export interface Machine {
  readonly platform: NodeJS.Platform
  /** Names in a directory; `undefined`: there is none. */
  list(path: string): readonly string[] | undefined
  exists(path: string): boolean
  /** A small file as text; `undefined`: it cannot be read. */
  read(path: string): string | undefined
}

export const thisMachine: Machine = {
  platform: process.platform,
  list: (path) => {
    try {
      return readdirSync(path)
    } catch {
      return undefined
    }
  },
  exists: existsSync,
  read: (path) => {
    try {
      return readFileSync(path, 'utf8')
    } catch {
      return undefined
    }
  },
}

/** Beside bluetoothd where there is a system bus, since it shares the adapter with headsets and keyboards; else the adapter alone. */
export function lookForAdapter(machine: Machine = thisMachine): AdapterLook {
  if (machine.platform === 'darwin') return { kind: 'found', backend: 'corebluetooth' }
  if (machine.platform !== 'linux') return { kind: 'none', reason: `There is no Bluetooth for ${machine.platform} in this version.` }
  const adapters = machine.list(ADAPTERS)
  if (adapters === undefined) return { kind: 'none', reason: `This machine has no Bluetooth: the kernel has no driver for it (${ADAPTERS} is missing).` }
  if (!adapters.some((name) => /^hci\d+$/.test(name))) return { kind: 'none', reason: `This machine has no Bluetooth adapter (nothing in ${ADAPTERS}).` }
  return { kind: 'found', backend: machine.exists(SYSTEM_BUS) ? 'bluez' : 'hci' }
}

/** The adapters and the bus, as a text that changes with them. Links of an adapter come and go without changing it. */
export function machineMark(machine: Machine): string {
  const adapters = (machine.list(ADAPTERS) ?? []).filter((name) => /^hci\d+$/.test(name)).sort()
  return [...adapters, machine.exists(SYSTEM_BUS)].join()
}

/** Whether a bluetoothd runs on this machine, as far as one can see: by the names of processes, so that nobody is asked who would be started by it. */
export function bluetoothdRuns(machine: Machine): boolean {
  return (machine.list(PROCESSES) ?? []).some((name) => /^\d+$/.test(name) && machine.read(`${PROCESSES}/${name}/comm`)?.trim() === 'bluetoothd')
}

/** Whether the kernel will let us take an adapter alone. */
export function mayTakeAdapter(machine: Machine): boolean {
  const mask = /^CapEff:\s*([0-9a-f]+)$/m.exec(machine.read(CAPABILITIES) ?? '')?.[1]
  return mask !== undefined && (BigInt(`0x${mask}`) & NET_ADMIN) !== 0n
}
