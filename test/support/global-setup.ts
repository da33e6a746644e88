import { setUp } from '../../config/setup.mjs'

/** Process-level tests run the built product: build it once, before any worker starts. */
export function setup(): void {
  setUp()
}
