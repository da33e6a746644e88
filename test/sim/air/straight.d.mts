export interface Wire {
  write(packet: Uint8Array): void
  start(take: (packet: Uint8Array) => void): void
}
export interface Report {
  readonly kind: string
  readonly [field: string]: unknown
}
export const SERVICE: string
export function loadStraight(name: 'noble' | 'bleno', wire: Wire): unknown
export function playPeripheral(bleno: unknown, say: (report: Report) => void): void
export function playCentral(noble: unknown, say: (report: Report) => void): Promise<void>
