/** A word further from every known one than this has no nearest: a suggestion would be a guess. */
const DISTANCE_MAX = 3
/** Nobody mistypes more than this; it bounds the work for any input. */
const WORD_LENGTH_MAX = 64

/** The known word that was most likely meant by `word`, `undefined` when none is near. Upper and lower case count as the same. */
export function nearest(word: string, known: readonly string[]): string | undefined {
  const meant = word.slice(0, WORD_LENGTH_MAX).toLowerCase()
  let best: string | undefined
  let bestDistance = Math.min(DISTANCE_MAX, Math.ceil(word.length / 2)) + 1
  for (const candidate of known) {
    const distance = editDistance(meant, candidate.toLowerCase())
    if (distance < bestDistance) {
      best = candidate
      bestDistance = distance
    }
  }
  return best
}

/** Insertions, deletions, replacements and swaps of neighbours (optimal string alignment). */
function editDistance(a: string, b: string): number {
  let beforeLast: number[] = []
  let last = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1]
      let least = Math.min(last[j]! + 1, row[j - 1]! + 1, last[j - 1]! + (same ? 0 : 1))
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) least = Math.min(least, beforeLast[j - 2]! + 1)
      row.push(least)
    }
    beforeLast = last
    last = row
  }
  return last[b.length]!
}
