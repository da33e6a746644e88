import { readFileSync } from 'node:fs'

/** What bluetoothd says of itself unless it is told otherwise: the vendor of Linux, and its version. */
const MODALIAS = /^usb:v1D6Bp0246d([0-9A-F]{2})([0-9A-F]{2})$/i
const CONFIGURATION = '/etc/bluetooth/main.conf'
/** [GATT] Channels was 3 in these, where nothing is configured (decision 122); and 1 since. */
const WITH_CHANNELS_SINCE = 54
const WITH_CHANNELS_UNTIL = 66

function channelsIn(configuration: string): number | undefined {
  let section = ''
  let channels: number | undefined
  for (const line of configuration.split('\n')) {
    section = /^\s*\[(.*)\]/.exec(line)?.[1] ?? section
    const value = section === 'GATT' ? /^\s*Channels\s*=\s*(\d+)/.exec(line)?.[1] : undefined
    if (value !== undefined) channels = Number(value)
  }
  return channels
}

/** What a person can do about it, if this bluetoothd sends values by several bearers, which lose them and change their order. */
export function explainEnhancedAtt(modalias: unknown, configuration: string | undefined): string | undefined {
  const version = typeof modalias === 'string' ? MODALIAS.exec(modalias) : null
  const [major, minor] = version === null ? [0, 0] : [Number.parseInt(version[1]!, 16), Number.parseInt(version[2]!, 16)]
  const usual = major === 5 && minor >= WITH_CHANNELS_SINCE && minor <= WITH_CHANNELS_UNTIL ? 3 : 1
  if ((channelsIn(configuration ?? '') ?? usual) <= 1) return undefined
  const name = version === null ? 'bluetoothd' : `bluetoothd ${major}.${minor}`
  return `${name} uses Enhanced ATT, by which links to others of its kind lose data: write Channels = 1 under [GATT] in ${CONFIGURATION} and start it anew`
}

export function readConfiguration(): string | undefined {
  try {
    return readFileSync(CONFIGURATION, 'utf8')
  } catch {
    return undefined
  }
}
