import { formatBleAddress, isBleAddress } from '../../core/base/ble-address.ts'
import { millisecond } from '../../core/base/time.ts'
import { powerModes, type PowerMode } from '../../core/base/power-mode.ts'
import { dutyCost } from '../../core/ble/duty.ts'
import type { BleDevice, BleDutyCost, BleLinkInfo, BlePowerMode, blePowerControls } from '../../core/wire/ipc/ipc-ble.ts'
import type { BackendName } from '../../net/ble/backend.ts'
import { bleAddressOf } from '../../net/ble/addresses.ts'
import type { BleDriver } from '../../net/ble/ble.ts'
import type { NodeRuntime } from '../node-runtime.ts'

/** Who was heard lately: friends, then strangers where those are shown; the strongest first. */
export function bleDevices(runtime: NodeRuntime, driver: BleDriver | undefined, strangers: boolean): BleDevice[] {
  const { endpoint } = runtime
  const heard = (driver?.nearby() ?? []).filter(({ peer }) => peer !== undefined || strangers)
  const devices = heard.map(({ address, rssi, age, peer }): BleDevice => {
    const stats = peer === undefined ? undefined : endpoint.peerStats(peer)
    const id = peer === undefined ? undefined : endpoint.peerId(peer)
    return {
      address: formatBleAddress(bleAddressOf(address)), rssi, ageMs: Math.round(age / millisecond), ...(id === undefined ? {} : { peer: id }),
      ...(stats?.name === undefined ? {} : { name: stats.name }), ...(stats === undefined ? {} : { peerState: stats.state }),
    }
  })
  return devices.sort((a, b) => Number(b.peer !== undefined) - Number(a.peer !== undefined) || b.rssi - a.rssi)
}

/** Every link, whose it is, and what it is for. */
export function bleLinks(runtime: NodeRuntime, driver: BleDriver | undefined): BleLinkInfo[] {
  const { endpoint } = runtime
  const owners = new Map<string, { readonly peer: string; readonly name: string | undefined }>()
  for (const peer of endpoint.peers()) {
    const stats = endpoint.peerStats(peer)
    for (const path of stats?.paths ?? []) if (isBleAddress(path.address)) owners.set(formatBleAddress(path.address), { peer: endpoint.peerId(peer) ?? '', name: stats?.name })
  }
  return (driver?.links() ?? []).map(({ id, info }): BleLinkInfo => {
    const address = formatBleAddress(info.remote!)
    const owner = owners.get(address)
    return {
      address, ...(owner === undefined ? {} : { peer: owner.peer }), ...(owner?.name === undefined ? {} : { name: owner.name }),
      dialed: info.dialed === true, use: endpoint.linkUse(id) ?? 'stranger', ...driver?.linkFacts(info.remote!),
    }
  })
}

/** bluetoothd shows us as often as it is told, and listens as hard as it likes while it is to listen at all; macOS decides both. */
export const powerControls: Readonly<Record<BackendName, (typeof blePowerControls)[number]>> = { hci: 'exact', virtual: 'exact', bluez: 'partly', corebluetooth: 'none' }

/** What each mode costs. */
export const powerCosts: readonly BlePowerMode[] = powerModes.map((mode) => ({ mode, searching: costOf(mode, true), calm: costOf(mode, false) }))

function costOf(mode: PowerMode, searching: boolean): BleDutyCost {
  const { advertiseMs, listens, found } = dutyCost(mode, searching)
  return { advertiseMs, listens: Math.round(10_000 * listens) / 10_000, foundMs: Math.round(found / millisecond) }
}
