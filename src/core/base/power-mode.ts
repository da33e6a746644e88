/** How much a node spends on being found and on finding by Bluetooth: `active` on mains or in somebody's hand, `saver` when the battery runs low. */
export const powerModes = ['active', 'background', 'saver'] as const
export type PowerMode = (typeof powerModes)[number]
