import type { BackendOptions, BleBackend } from '../backend.ts'
import { PackageError } from './packages.ts'
import { HciStack } from './stack.ts'
import { hciTime, openH4Socket } from './transport.ts'

/** `virtual`: a controller of an emulated air, or any other that is served as H4 over a unix socket. */
export async function openBackend(options: BackendOptions): Promise<BleBackend> {
  const { socket } = options
  if (socket === undefined) throw new PackageError('the virtual adapter needs the path of its socket')
  const stack = new HciStack({ name: options.name, open: () => openH4Socket(socket), time: hciTime })
  await stack.begin()
  return stack
}
