import { z } from 'zod'
import { stunServerStates, type IpcReflexive, type IpcStunServer, type IpcStunStatus } from '../core/wire/ipc-nat.ts'
import { milliseconds, object } from './schema-parts.ts'

const server = object<IpcStunServer>({
  name: z.string().describe('As it is configured'), address: z.string().optional(), state: z.enum(stunServerStates).describe('unasked: none was needed; resting: it failed too often; unresolved: its name has no address yet'),
  rttMs: milliseconds.optional(),
})

export const stunSchema: z.ZodType<IpcStunStatus> = object<IpcStunStatus>({
  enabled: z.boolean().describe('false: nobody is asked ([stun] in the configuration, or POSTERN_STUN=0)'), asking: z.boolean().describe('An answer is waited for'),
  servers: z.array(server).describe('In the order in which they are asked'),
  reflexive: z.array(object<IpcReflexive>({ address: z.string(), server: z.string().describe('Who said so'), ageMs: milliseconds })).describe('One of each family at most'),
})
