/** What a router with UPnP says: searches, URLs, XML, descriptions, SOAP. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { formatAddress } from '../../../src/core/base/address.ts'
import { fromUtf8 } from '../../../src/core/base/bytes.ts'
import { parseHttpUrl, resolveHttpUrl } from '../../../src/core/wire/http-url.ts'
import { decodeDescription, decodeSoap, encodeAddMapping, encodeDeleteMapping, encodeGetExternalAddress, externalAddressOf } from '../../../src/core/wire/igd.ts'
import { decodeSsdpAnswer, encodeSearch } from '../../../src/core/wire/ssdp.ts'
import { escapeXml, parseXml, XML_SIZE_MAX, type XmlElement } from '../../../src/core/wire/xml.ts'
import { bytes, mutations } from '../../support/bytes.ts'
import { envelope, HomeRouter } from '../../support/home-router.ts'

const at = (text: string): string | undefined => {
  const url = parseHttpUrl(text)
  return url === undefined ? undefined : `${formatAddress(url.address)} ${url.path}`
}
const base = parseHttpUrl('http://192.168.1.1:5000/dir/root.xml?x=/y')!

describe('URLs', () => {
  it.each<readonly [string, string | undefined]>([
    ['http://192.168.1.1:5000/root.xml', '192.168.1.1:5000 /root.xml'], ['HTTP://192.168.1.1', '192.168.1.1:80 /'], ['http://[fd00::1]:80/a?b=c#d', '[fd00::1]:80 /a?b=c'],
    ...['http://router/', 'https://192.168.1.1/', 'http://192.168.1.1:0/', 'http://192.168.1.1:70000/', 'http://a@192.168.1.1/', 'http://192.168.1.1@11.0.0.1/', 'http://192.168.01.1/', 'http://3232235777/',
      'http://192.168.1.1/a b', 'http://192.168.1.1/\r\nX: y', 'http://192.168.1.1/\u00e9', 'http://[::1%eth0]/', 'ftp://192.168.1.1/', '', `http://192.168.1.1/${'a'.repeat(500)}`].map((text) => [text, undefined] as const),
  ])('%s: %s', (text, expected) => {
    expect(at(text)).toBe(expected)
  })

  it.each([
    ['/ctl', '192.168.1.1:5000 /ctl'], ['ctl', '192.168.1.1:5000 /dir/ctl'], ['http://192.168.1.1:80/ctl', '192.168.1.1:80 /ctl'], ['ctl?a#b', '192.168.1.1:5000 /dir/ctl?a'],
    ['http://11.0.0.1/ctl', '11.0.0.1:80 /ctl'], ['//11.0.0.1/ctl', undefined], ['', undefined], ['/a b', undefined], ['javascript:x', undefined], ['/\r\nHost: x', undefined],
  ])('%s in a document: %s', (reference, expected) => {
    const url = resolveHttpUrl(base, reference)
    expect(url === undefined ? undefined : `${formatAddress(url.address)} ${url.path}`).toBe(expected)
  })

  it('any text is a value', () => {
    fc.assert(fc.property(fc.string(), fc.constantFrom('', 'http://', 'http://1.2.3.4', 'http://1.2.3.4/'), (text, start) => {
      const url = resolveHttpUrl(base, start + text)
      if (url !== undefined) expect(url.path).toMatch(/^\/[!-~]*$/)
    }))
  })
})

describe('SSDP', () => {
  const type = 'urn:schemas-upnp-org:device:InternetGatewayDevice:1'
  const answer = (lines: readonly string[], end = '\r\n'): Uint8Array => Buffer.from([...lines, '', ''].join(end), 'latin1')
  const good = answer(['HTTP/1.1 200 OK', `ST: ${type}`, 'location:http://192.168.1.1:5000/x.xml'])

  it('searches', () => {
    expect(fromUtf8(encodeSearch(type))).toBe(`M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: "ssdp:discover"\r\nMX: 1\r\nST: ${type}\r\n\r\n`)
  })

  it('reads answers, whatever the case of headers and the ends of lines', () => {
    expect(decodeSsdpAnswer(good)).toEqual({ kind: 'found', type, location: parseHttpUrl('http://192.168.1.1:5000/x.xml') })
    expect(decodeSsdpAnswer(answer(['HTTP/1.0 200', `St : ${type}`, 'LOCATION:\thttp://192.168.1.1:5000/x.xml'], '\n'))).toMatchObject({ kind: 'found' })
    expect(decodeSsdpAnswer(answer(['HTTP/1.1 200 OK', 'ST: upnp:rootdevice', 'LOCATION: http://192.168.1.1/']))).toEqual({ kind: 'other' })
    expect(decodeSsdpAnswer(answer(['NOTIFY * HTTP/1.1', `NT: ${type}`, 'LOCATION: http://192.168.1.1/']))).toEqual({ kind: 'other' })
  })

  it.each([
    [answer(['HTTP/1.1 302 Found', `ST: ${type}`, 'LOCATION: http://192.168.1.1/']), 'status'], [answer(['HTTP/1.1 200 OK', 'nonsense']), 'header'], [new Uint8Array(2049).fill(65), 'size'],
    [answer(['HTTP/1.1 200 OK', ...new Array<string>(80).fill('a: b')]), 'size'], [answer(['HTTP/1.1 200 OK', `ST: ${type}`]), 'location'], [new Uint8Array(0), 'status'],
  ] as const)('malformed (%#)', (input, where) => {
    expect(decodeSsdpAnswer(input)).toEqual({ kind: 'malformed', where })
  })

  it('any bytes are a value', () => {
    fc.assert(fc.property(fc.oneof(bytes(0, 3000), mutations(good)), (input) => {
      decodeSsdpAnswer(input)
    }))
  })
})

describe('XML', () => {
  const names = fc.constantFrom('a', 'b-c', 'D.e', '_f')
  const text = fc.string({ maxLength: 8 }).map((drawn) => drawn.trim())
  const level = (inner: fc.Arbitrary<readonly XmlElement[]>): fc.Arbitrary<XmlElement> => fc.record({ name: names, children: inner, text }, { noNullPrototype: true })
  const tree = level(fc.array(level(fc.array(level(fc.constant([])), { maxLength: 3 })), { maxLength: 3 }))
  const write = ({ name, children, text: content }: XmlElement, style: number): string => {
    const full = style % 2 === 0 ? name : `ns:${name}`
    const noise = ['', '<!-- <x> -->', '<?pi <x> ?>', '\n\t'][style % 4]!
    const inner = `${style % 3 === 0 && !content.includes(']]>') && content !== '' ? `<![CDATA[${content}]]>` : escapeXml(content)}${noise}${children.map((child) => write(child, style + 1)).join(noise)}`
    return `<${full}${style % 5 === 0 ? ' k="a>b" l = \'"\'' : ''}>${inner}</${full} >`
  }

  it('reads what was written, in every style', () => {
    fc.assert(fc.property(tree, fc.nat(60), fc.constantFrom('', '<?xml version="1.0"?>\r\n', '\ufeff<?xml version="1.0"?>', '\u00ef\u00bb\u00bf'), (root, style, before) => {
      expect(parseXml(before + write(root, style))).toEqual({ kind: 'document', root })
    }))
  })

  it('knows five entities and numbers', () => {
    expect(parseXml('<a>&lt;&amp;&#65;&#x42;&quot;&apos;&gt;</a>')).toMatchObject({ root: { text: '<&AB"\'>' } })
    expect(parseXml('<a/>')).toEqual({ kind: 'document', root: { name: 'a', children: [], text: '' } })
  })

  it.each([
    ['<!DOCTYPE a><a/>', 'doctype'], ['<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', 'doctype'], ['<a>&b;</a>', 'entity'], ['<a>&#0;</a>', 'entity'], ['<a>&#x110000;</a>', 'entity'], ['<a>& b</a>', 'entity'],
    ['<a>&constructor;</a>', 'entity'], ['', 'markup'], ['text', 'markup'], ['<a>', 'markup'], ['<a></b>', 'markup'], ['<x:a></a>', 'markup'], ['</a>', 'markup'], ['<a/><b/>', 'markup'], ['<a/>x', 'markup'], ['<a b=c/>', 'markup'],
    ['<a><!-- </a>', 'markup'], ['<a><![CDATA[ </a>', 'markup'], ['<', 'markup'], [`${'<a>'.repeat(40)}${'</a>'.repeat(40)}`, 'depth'], [`<a>${'<b/>'.repeat(2048)}</a>`, 'elements'], [`<a>${'x'.repeat(XML_SIZE_MAX)}</a>`, 'size'],
  ])('%.40s is malformed: %s', (text, where) => {
    expect(parseXml(text)).toEqual({ kind: 'malformed', where })
  })

  it('any text is a value, in time that grows with its length alone', () => {
    fc.assert(fc.property(fc.oneof(fc.string(), fc.array(fc.constantFrom('<a>', '</a>', '<a', ' b="', '"', '>', '&', '<!--', '-->', '<![CDATA[', ']]>', 'x', ' ', '/')).map((parts) => parts.join(''))), (text) => {
      parseXml(text)
    }))
    // Each of these is quadratic or worse for a careless pattern.
    for (const unit of [' ', '<', '&', '<a ', '<!--', 'a="b" ', '<a b="c" ', '<![CDATA[']) expect(parseXml(`<a ${unit.repeat(Math.floor(65_000 / unit.length))}`).kind).toBe('malformed')
  })
})

describe('descriptions', () => {
  const router = new HomeRouter({ controlUrl: 'ctl/IPConn' })

  it('finds the service and where it is controlled', () => {
    expect(decodeDescription(router.description(), base)).toEqual({ kind: 'description', services: [{ type: 'urn:schemas-upnp-org:service:WANIPConnection:1', control: parseHttpUrl('http://192.168.1.1:5000/dir/ctl/IPConn') }] })
    expect(decodeDescription(router.description().replace('<device>', '<URLBase>http://192.168.1.1:49152/</URLBase><device>'), base)).toMatchObject({ services: [{ control: parseHttpUrl('http://192.168.1.1:49152/ctl/IPConn') }] })
  })

  it('takes the best of several, at most four', () => {
    const service = (type: string): string => `<service><serviceType>urn:schemas-upnp-org:service:${type}</serviceType><controlURL>/c</controlURL></service>`
    const decoded = decodeDescription(`<root>${['WANPPPConnection:1', 'WANIPConnection:1', 'WANIPConnection:2', 'WANIPConnection:1', 'WANIPConnection:1', 'Other:1'].map(service).join('')}</root>`, base)
    expect(decoded.kind === 'description' && decoded.services.map(({ type }) => type.slice(28))).toEqual([':WANIPConnection:2', ':WANIPConnection:1', ':WANIPConnection:1', ':WANIPConnection:1'])
  })

  it.each([['<root/>', 'services'], ['<root><URLBase>ftp://x</URLBase></root>', 'url'], ['<root>', 'markup']])('%s is malformed: %s', (text, where) => {
    expect(decodeDescription(text, base)).toEqual({ kind: 'malformed', where })
  })
})

describe('SOAP', () => {
  const type = 'urn:schemas-upnp-org:service:WANIPConnection:1'

  it('asks in well-formed XML, by the header that names the action', () => {
    const add = encodeAddMapping(type, { transport: 'udp', externalPort: 7001, internalPort: 7000, internalHost: '192.168.1.7', lease: 1200 })
    expect(add.action).toBe(`"${type}#AddPortMapping"`)
    const document = parseXml(add.body)
    expect(document).toMatchObject({ kind: 'document', root: { name: 'Envelope', children: [{ name: 'Body', children: [{ name: 'AddPortMapping' }] }] } })
    const values = document.kind === 'document' ? Object.fromEntries(document.root.children[0]!.children[0]!.children.map(({ name, text }) => [name, text])) : {}
    expect(values).toEqual({
      NewRemoteHost: '', NewExternalPort: '7001', NewProtocol: 'UDP', NewInternalPort: '7000', NewInternalClient: '192.168.1.7', NewEnabled: '1', NewPortMappingDescription: 'postern', NewLeaseDuration: '1200',
    })
    for (const { body } of [encodeDeleteMapping(type, 'tcp', 7001), encodeGetExternalAddress(type)]) expect(parseXml(body).kind).toBe('document')
    expect(encodeDeleteMapping(type, 'tcp', 7001).body).toContain('<NewRemoteHost></NewRemoteHost><NewExternalPort>7001</NewExternalPort><NewProtocol>TCP</NewProtocol>')
  })

  it('reads answers and faults', () => {
    const answer = decodeSoap(envelope(`<u:GetExternalIPAddressResponse xmlns:u="x"><NewExternalIPAddress> 203.0.113.9 </NewExternalIPAddress></u:GetExternalIPAddressResponse>`), 'GetExternalIPAddress')
    expect(answer.kind === 'done' && formatAddress(externalAddressOf(answer.values)!)).toBe('203.0.113.9:0')
    expect(externalAddressOf(new Map([['NewExternalIPAddress', 'router.example']]))).toBeUndefined()
    const fault = (detail: string): string => envelope(`<s:Fault><faultcode>s:Client</faultcode>${detail}</s:Fault>`)
    expect(decodeSoap(fault('<detail><UPnPError><errorCode>718</errorCode></UPnPError></detail>'), 'AddPortMapping')).toEqual({ kind: 'error', code: 718 })
    for (const detail of ['', '<detail/>', '<detail><UPnPError/></detail>', '<detail><UPnPError><errorCode>7e9</errorCode></UPnPError></detail>']) expect(decodeSoap(fault(detail), 'AddPortMapping')).toEqual({ kind: 'error', code: 0 })
    expect(decodeSoap(envelope('<u:DeletePortMappingResponse/>'), 'AddPortMapping')).toEqual({ kind: 'malformed', where: 'envelope' })
    expect(decodeSoap('<a/>', 'AddPortMapping')).toEqual({ kind: 'malformed', where: 'envelope' })
    expect(decodeSoap('<a', 'AddPortMapping')).toEqual({ kind: 'malformed', where: 'markup' })
  })
})
