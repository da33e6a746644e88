import type { StatusResult } from '../client/client.ts'

/** What the router lets in, or why nothing. */
export function portMappingText(mapping: StatusResult['portMapping']): string {
  switch (mapping?.state) {
    case undefined:
    case 'disabled':
      return 'not asked for: it is switched off'
    case 'off':
      return 'not asked for: no router between here and the Internet'
    case 'searching':
      return `asking ${mapping.router ?? 'the router'} …`
    case 'mapped':
      return `${mapping.mapped.map(({ transport, external }) => `${transport} ${external}`).join(', ')} (by ${mapping.protocol ?? '?'})`
    case 'none':
      return `none: ${mapping.reason === 'silent' ? `${mapping.router ?? 'the router'} does not answer` : mapping.reason ?? 'refused'}`
    case 'stopped':
      return 'taken back'
  }
}
