/** What the schemas of command results are put together from. */
import { z } from 'zod'

type Optional<T> = { readonly [K in keyof T]-?: Partial<Pick<T, K>> extends Pick<T, K> ? K : never }[keyof T]
/** A schema for each member, optional where the member is: one that is missing here, or too many, does not compile. */
export type Members<T> = { readonly [K in keyof T]-?: K extends Optional<T> ? z.ZodOptional<z.ZodType<T[K]>> : z.ZodType<T[K]> }

export function object<T>(members: Members<T>): z.ZodType<T> {
  return z.object(members) as unknown as z.ZodType<T>
}

export const count: z.ZodType<number> = z.int().min(0)
export const milliseconds: z.ZodType<number> = z.number().min(0)
export const share: z.ZodType<number> = z.number().min(0).max(1)
export const peerId: z.ZodType<string> = z.string().regex(/^[a-z2-7]{51}[aq]$/).describe('Peer id: 32 bytes in base32')
export const unixMs: z.ZodType<number> = count.describe('Milliseconds since 1970-01-01 UTC')
