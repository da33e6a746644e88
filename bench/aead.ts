import { AeadBatch } from '../src/core/crypto/aead-batch.ts'
import type { CryptoProvider } from '../src/core/crypto/provider.ts'
import { loadAddon } from '../src/platform/addon.ts'
import { NativeCryptoProvider } from '../src/platform/native-crypto-provider.ts'
import { NodeCryptoProvider } from '../src/platform/node-crypto-provider.ts'
import type { BenchCase, Sample, Subject, Tools } from './harness/case.ts'
import { CpuWatch } from './harness/processes.ts'

const BATCH = 64
const TAG_SIZE = 16
const SPACING = 2048
const WARM_UP_MS = 300

/** What sealing and opening a datagram costs with the addon and with its twin, in batches as the core makes them, on one core. */
export const aead: BenchCase = {
  name: 'aead', title: `ChaCha20-Poly1305 by each provider, ${BATCH} datagrams a call`, headline: 'nsPerOperation',
  subjects: () => providers().flatMap((make): Subject[] => [100, 1152].flatMap((size) => (['seal', 'open'] as const).map((way): Subject => (
    { name: `${make().name} ${way} ${size} B`, measure: (tools) => Promise.resolve(measure(tools, make(), size, way)) }
  )))),
}

/** That of node:crypto, and the addon's where it is built. */
function providers(): readonly (() => CryptoProvider)[] {
  const state = loadAddon()
  const crypto = state.kind === 'loaded' ? state.addon.crypto : undefined
  return [() => new NodeCryptoProvider(), ...crypto === undefined ? [] : [() => new NativeCryptoProvider(crypto)]]
}

function measure({ settings }: Tools, provider: CryptoProvider, size: number, way: 'seal' | 'open'): Sample {
  const bytes = new Uint8Array(BATCH * SPACING).fill(7)
  const key = provider.addKey(new Uint8Array(32).fill(1))
  const batch = new AeadBatch(BATCH)
  const fill = (): void => {
    batch.count = 0
    for (let i = 0; i < BATCH; i++) batch.push(key, i, i * SPACING, size)
  }
  fill()
  provider.sealBatch(bytes, batch)
  const sealed = bytes.slice()
  /** Nanoseconds of `ms` milliseconds' worth of batches, and how many they were. */
  const run = (ms: number): readonly [ns: number, batches: number] => {
    let ns = 0
    let batches = 0
    for (const until = performance.now() + ms; performance.now() < until; batches++) {
      fill()
      // Opening overwrites what it opens.
      if (way === 'open') bytes.set(sealed)
      const began = process.hrtime.bigint()
      if (way === 'seal') provider.sealBatch(bytes, batch)
      else provider.openBatch(bytes, batch)
      ns += Number(process.hrtime.bigint() - began)
      if (way === 'open' && batch.length[0] !== size) throw new Error('A sealed datagram did not open.')
    }
    return [ns, batches]
  }
  run(WARM_UP_MS)
  const watch = new CpuWatch({ bench: process.pid })
  const [ns, batches] = run(settings.seconds * 250)
  const { cores, others } = watch.read()
  const nsPerOperation = ns / (batches * BATCH)
  return { figures: { nsPerOperation, megabytesPerSecond: (size * 1000) / nsPerOperation, cores, othersCores: others }, notes: [`${size + TAG_SIZE} bytes with the tag`] }
}
