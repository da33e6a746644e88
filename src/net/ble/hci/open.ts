import type { BackendOptions, BleBackend } from '../backend.ts'
import { PackageError } from './packages.ts'
import { HciStack } from './stack.ts'
import { hciTime, openH4Socket, type OpenTransport } from './transport.ts'
import { deviceNumber, loadAddonHci, openUserChannel } from './user-channel.ts'

/**
 * `hci`: the kernel's user channel of an adapter, which nobody else can use meanwhile. `virtual`: a controller of an emulated air, or any other that is served
 * as H4 over a unix socket.
 */
export async function openBackend(options: BackendOptions): Promise<BleBackend> {
  const stack = new HciStack({ name: options.name, open: wayTo(options), time: hciTime })
  await stack.begin()
  return stack
}

function wayTo({ name, socket, adapter, addon }: BackendOptions): OpenTransport {
  if (socket !== undefined) return () => openH4Socket(socket)
  if (name === 'virtual') throw new PackageError('the virtual adapter needs the path of its socket')
  const [hci, device] = [loadAddonHci(addon), deviceNumber(adapter)]
  return () => openUserChannel(hci, device)
}
