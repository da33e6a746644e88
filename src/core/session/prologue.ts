import { assert } from '../base/assert.ts'
import { utf8 } from '../base/bytes.ts'
import { WIRE_VERSION } from '../wire/datagram.ts'
import type { Suite } from './suites.ts'

export const PROLOGUE_SIZE = 74

/** 0: the first handshake of two nodes; 1: a rekey inside their session. */
export type HandshakeMode = 0 | 1

const NAME = utf8('Postern')
const NOTHING = new Uint8Array(32)

export interface PrologueInput {
  readonly suite: Suite
  readonly mode: HandshakeMode
  /** 32 bytes; ignored in XX, where it must not be needed to read A. */
  readonly responderId: Uint8Array
  /** Session binding of the live session, 32 bytes, in mode 1; `undefined` in mode 0. */
  readonly sessionBinding: Uint8Array | undefined
}

/**
 * What both sides must agree on before the first byte (WIRE.md §3.2):
 *
 *   "Postern" 7 | version u8 | suite u8 | mode u8 | R's id 32 (XX: zeros) | session binding 32 (mode 0: zeros)
 */
export function encodePrologue(input: PrologueInput): Uint8Array {
  const binding = input.sessionBinding ?? NOTHING
  assert(input.responderId.length === 32 && binding.length === 32, 'id and session binding have 32 bytes')
  assert((input.mode === 1) === (input.sessionBinding !== undefined), 'a rekey, and nothing else, names its session')
  const prologue = new Uint8Array(PROLOGUE_SIZE)
  prologue.set(NAME)
  prologue[7] = WIRE_VERSION
  prologue[8] = input.suite.number
  prologue[9] = input.mode
  if (input.suite.family === 'IK') prologue.set(input.responderId, 10)
  prologue.set(binding, 42)
  return prologue
}
