import { expect, it } from 'vitest'
import { portMappingText } from '../../src/cli/port-mapping-text.ts'
import type { IpcPortMapping } from '../../src/core/wire/ipc/ipc-nat.ts'

it('says what the router lets in, or why nothing', () => {
  const router = '192.168.1.1'
  const mapped: IpcPortMapping['mapped'] = [{ transport: 'udp', external: '203.0.113.7:7000', leftMs: 1 }, { transport: 'tcp', external: '203.0.113.7:7001', leftMs: 1 }]
  const table: readonly (readonly [IpcPortMapping | undefined, string])[] = [
    [undefined, 'not asked for: it is switched off'],
    [{ state: 'disabled', mapped: [] }, 'not asked for: it is switched off'],
    [{ state: 'off', mapped: [] }, 'not asked for: no router between here and the Internet'],
    [{ state: 'searching', router, mapped: [] }, 'asking 192.168.1.1 …'],
    [{ state: 'mapped', router, protocol: 'nat-pmp', mapped }, 'udp 203.0.113.7:7000, tcp 203.0.113.7:7001 (by nat-pmp)'],
    [{ state: 'none', router, mapped: [], reason: 'silent' }, 'none: 192.168.1.1 does not answer'],
    [{ state: 'none', router, mapped: [], reason: 'external address is not public' }, 'none: external address is not public'],
    [{ state: 'stopped', router, mapped: [] }, 'taken back'],
  ]
  for (const [mapping, text] of table) expect(portMappingText(mapping)).toBe(text)
})
