import fc from 'fast-check'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { compareBytes, utf8 } from '../../src/core/base/bytes.ts'
import { compareKeys } from '../../src/store/entries.ts'
import { MemoryStore } from '../../src/store/memory-store.ts'
import { StateDirectory } from '../../src/store/state-directory.ts'
import { storeConformance } from './conformance.ts'
import { openSim, temporaryDirectory } from './helpers.ts'
import { SimFs } from './sim-fs.ts'

storeConformance('in memory', false, () => Promise.resolve({ open: () => Promise.resolve(new MemoryStore()), dispose: () => Promise.resolve() }))

storeConformance('sealed file on a simulated disk', true, () => {
  const fs = new SimFs()
  return Promise.resolve({
    open: () => openSim(fs),
    dispose: () => {
      expect(fs.openFiles, 'open files').toBe(0)
      return Promise.resolve()
    },
  })
})

storeConformance('sealed file of a state directory', true, async () => {
  const directory = await temporaryDirectory()
  let last: StateDirectory | undefined
  return {
    open: async () => {
      await last?.close()
      last = await StateDirectory.open({ path: join(directory.path, 'state') })
      return last.store
    },
    dispose: async () => {
      await last?.close()
      await directory[Symbol.asyncDispose]()
    },
  }
})

describe('key order', () => {
  it('is the order of UTF-8 bytes', () => {
    fc.assert(fc.property(fc.string({ unit: 'binary' }), fc.string({ unit: 'binary' }), (a, b) => {
      expect(Math.sign(compareKeys(a, b))).toBe(Math.sign(compareBytes(utf8(a), utf8(b))))
    }), { numRuns: 3000 })
  })
})
