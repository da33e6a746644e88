/** Every figure a case may give. The label and unit are what is printed; results and goals name the key. */
export const metrics = {
  messagesPerSecond: { label: 'messages', unit: '/s' },
  megabytesPerSecond: { label: 'payload', unit: 'MB/s' },
  linkPercent: { label: 'of the link', unit: '%' },
  handshakesPerSecond: { label: 'handshakes', unit: '/s' },
  packetsPerSecond: { label: 'packets', unit: '/s' },
  cores: { label: 'cores', unit: '' },
  othersCores: { label: 'cores used by others meanwhile', unit: '' },
  p50Us: { label: 'p50', unit: 'µs' },
  p99Us: { label: 'p99', unit: 'µs' },
  cpuNsPerMessage: { label: 'CPU of all processes per message', unit: 'ns' },
  cpuNsPerPacket: { label: 'CPU of both daemons or ends per datagram', unit: 'ns' },
  cpuNsPerKiB: { label: 'CPU of all processes per KiB', unit: 'ns' },
  cpuUsPerHandshake: { label: 'CPU of the answering process per handshake', unit: 'µs' },
  nsPerOperation: { label: 'per operation', unit: 'ns' },
  residentKiBPerSession: { label: 'resident per session', unit: 'KiB' },
  untidyKiBPerSession: { label: 'resident per session, nothing collected by force', unit: 'KiB' },
  heapKiBPerSession: { label: 'JavaScript heap per session', unit: 'KiB' },
  externalKiBPerSession: { label: 'array buffers per session', unit: 'KiB' },
  nativeKiBPerSession: { label: 'neither heap nor array buffers, per session', unit: 'KiB' },
  corePercent: { label: 'of one core', unit: '%' },
  growthMiBA: { label: 'growth of the sending daemon', unit: 'MiB' },
  growthMiBB: { label: 'growth of the receiving daemon', unit: 'MiB' },
  growthMiB: { label: 'largest growth of a daemon while stalled', unit: 'MiB' },
  fairness: { label: 'fairness (Jain)', unit: '' },
  misplaced: { label: 'messages lost, doubled or out of order', unit: '' },
} as const

export type MetricName = keyof typeof metrics
export type Figures = Partial<Record<MetricName, number>>

export const metricNames: readonly MetricName[] = Object.keys(metrics) as MetricName[]

/** Three digits that matter, and a unit. */
export function formatFigure(name: MetricName, value: number): string {
  const { unit } = metrics[name]
  if (unit === 'µs' && value >= 10_000) return `${formatNumber(value / 1000)} ms`
  const text = formatNumber(value)
  return unit === '' ? text : `${text} ${unit}`
}

export function formatNumber(value: number): string {
  const size = Math.abs(value)
  const decimals = size >= 100 || Number.isInteger(value) ? 0 : size >= 10 ? 1 : size >= 0.1 ? 2 : 3
  return value.toLocaleString('en-US', { minimumFractionDigits: decimals, maximumFractionDigits: decimals })
}
