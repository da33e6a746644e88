import { loadAddon, type Addon } from '../../src/platform/addon.ts'

const state = loadAddon()

/** The addon, when it is built; what needs it is skipped otherwise, with this line. */
export const addon: Addon | undefined = state.kind === 'loaded' ? state.addon : undefined
if (state.kind === 'absent') console.warn(`test: the native addon is ${state.reason}: its tests are skipped`)
