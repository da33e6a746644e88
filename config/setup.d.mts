export const root: string
export function setUp(names?: readonly ('product' | 'demo')[]): void
