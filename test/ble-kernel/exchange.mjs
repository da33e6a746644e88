// What is asked of two backends on two controllers of a real kernel: to find each other, connect, carry values both ways, and end; then with the roles changed.
const VALUES_UNSENT = 4

/** What a backend has told, and a way to wait for more. */
export class Side {
  constructor(name, backend) {
    this.name = name
    this.backend = backend
    this.events = []
    this.waiting = []
    this.on = {}
    backend.onEvent((event) => {
      if (process.env.VERBOSE) console.log(name, JSON.stringify(event))
      this.on[event.kind]?.(event)
      this.events.push(event)
      if (this.events.length > 1000) this.events.shift()
      this.waiting = this.waiting.filter((each) => !each(event))
    })
  }

  command(kind, rest = {}) {
    this.backend.command({ kind, ...rest })
  }

  next(kind, matches = () => true, milliseconds = 80_000) {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${this.name}: no ${kind} within ${milliseconds} ms; told: ${JSON.stringify(this.events.slice(-6))}`)), milliseconds)
      this.waiting.push((event) => {
        if (event.kind !== kind || !matches(event)) return false
        clearTimeout(timer)
        resolve(event)
        return true
      })
    })
  }

  async has(kind, matches = () => true) {
    return this.events.find((event) => event.kind === kind && matches(event)) ?? await this.next(kind, matches)
  }
}

async function bulk(from, link, to, size, total) {
  const started = performance.now()
  let [unsent, left, got] = [0, Math.ceil(total / size), 0]
  const all = left * size
  const value = Uint8Array.from({ length: size }, (_, i) => i)
  await new Promise((resolve, reject) => {
    const pump = () => {
      while (unsent < VALUES_UNSENT && left > 0) {
        unsent++
        left--
        from.command('send', { link, value })
      }
    }
    from.on.sent = ({ count }) => {
      unsent -= count
      pump()
    }
    to.on.received = (event) => {
      if (!Buffer.from(event.value).equals(value)) reject(new Error(`of ${size} bytes ${event.value.length} arrived, or others`))
      got += event.value.length
      if (got >= all) resolve()
    }
    pump()
  })
  delete from.on.sent
  delete to.on.received
  return (all / (performance.now() - started)).toFixed(0)
}

async function roundTrips(from, link, to, answerLink, count) {
  const times = []
  to.on.received = ({ value }) => to.command('send', { link: answerLink, value })
  for (let i = 0; i < count; i++) {
    const started = performance.now()
    const back = from.next('received')
    from.command('send', { link, value: new Uint8Array(20).fill(i) })
    await back
    times.push(performance.now() - started)
  }
  delete to.on.received
  return times.sort((a, b) => a - b)
}

/** One exchange: how long each step took. */
export async function exchange(central, peripheral, { hint, size, total, trips, isAnsweredFirst = false }) {
  const started = performance.now()
  const at = () => `${((performance.now() - started) / 1000).toFixed(1)} s`
  const same = (heard) => heard !== undefined && Buffer.from(heard).equals(Buffer.from(hint))
  peripheral.command('advertise', { on: true, hint, pace: 'fast' })
  central.command('scan', { on: true, pace: 'fast' })
  const { address } = await central.next('seen', (event) => same(event.hint))
  const seen = at()
  const accepted = peripheral.next('opened', ({ role }) => role === 'peripheral')
  const opened = central.next('opened', ({ role }) => role === 'central')
  const failed = central.next('connectFailed').then(({ reason }) => Promise.reject(new Error(`could not connect: ${reason}`)))
  failed.catch(() => undefined)
  // As the transport does it: a radio that listens does not dial.
  central.command('scan', { on: false, pace: 'fast' })
  central.command('connect', { address, timeoutMs: 30_000 })
  // Through bluetoothd the one who was dialed knows by whom with the first value, which a transport sends at once.
  if (isAnsweredFirst) void opened.then(({ link }) => central.command('send', { link, value: Uint8Array.of(0) }))
  const [here, there] = await Promise.race([Promise.all([opened, accepted]), failed])
  const connected = at()
  const valueSize = Math.min(size, here.mtu - 3, there.mtu - 3)
  const times = await roundTrips(central, here.link, peripheral, there.link, trips)
  const rates = total === 0 ? '' : `, ${await bulk(central, here.link, peripheral, valueSize, total)} and ${await bulk(peripheral, there.link, central, valueSize, total)} kB/s`
  const ends = Promise.all([central.next('closed'), peripheral.next('closed')])
  central.command('disconnect', { link: here.link })
  await ends
  peripheral.command('advertise', { on: false, hint: undefined, pace: 'fast' })
  return `heard ${seen}, open ${connected}, values of ${valueSize}, RTT p50 ${times[trips >> 1].toFixed(1)} ms${rates}`
}
