// Requests to addresses outside, for tools whose arguments a model writes. A name is resolved once, by this process, and the
// connection goes to the very address that was looked at: there is no second answer of a DNS server to trick it with.
// Nothing inside is reached: loopback, private and link-local networks, metadata services, and whatever form of writing leads there.
import { lookup as resolve, type LookupAddress } from 'node:dns';
import { request as plainRequest, type IncomingMessage, type RequestOptions } from 'node:http';
import { request as secureRequest } from 'node:https';
import { BlockList, isIP, type LookupFunction } from 'node:net';
import { MainstayError } from '../domain/errors.ts';

/** https://www.iana.org/assignments/iana-ipv4-special-registry and its sibling for v6: all that is not for everybody, and what carries a v4 address inside a v6 one. */
const INSIDE_V4 = ['0.0.0.0/8', '10.0.0.0/8', '100.64.0.0/10', '127.0.0.0/8', '169.254.0.0/16', '172.16.0.0/12', '192.0.0.0/24', '192.0.2.0/24', '192.88.99.0/24', '192.168.0.0/16', '198.18.0.0/15', '198.51.100.0/24', '203.0.113.0/24', '224.0.0.0/4', '240.0.0.0/4'];
const INSIDE_V6 = ['::/96', '::ffff:0:0/96', '64:ff9b::/96', '64:ff9b:1::/48', '100::/64', '2001::/23', '2001:db8::/32', '2002::/16', '3fff::/20', '5f00::/16', 'fc00::/7', 'fe80::/10', 'fec0::/10', 'ff00::/8'];
// Two lists: in one, a range of v6 that holds v4 addresses would be met by every v4 address.
const [insideV4, insideV6] = [listOf(INSIDE_V4, 'ipv4'), listOf(INSIDE_V6, 'ipv6')];

function listOf(ranges: readonly string[], family: 'ipv4' | 'ipv6'): BlockList {
  const list = new BlockList();
  for (const range of ranges) {
    const [network = '', bits] = range.split('/');
    list.addSubnet(network, Number(bits), family);
  }
  return list;
}

/** True for an address that nobody outside has. */
export function isInside(address: string): boolean {
  const plain = address.replace(/%.*$/, '');
  return isIP(plain) === 6 ? insideV6.check(plain, 'ipv6') : insideV4.check(plain, 'ipv4');
}

export interface OutboundRequest {
  readonly url: URL;
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | undefined;
  readonly signal: AbortSignal;
  /** Of the answer's body; the rest is not read. */
  readonly maxBytes: number;
  /** Addresses inside that are meant all the same, as they resolve (`127.0.0.1`): for development. */
  readonly allowInside: readonly string[];
}

export interface OutboundAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Buffer;
  /** The body was longer. */
  readonly isCut: boolean;
}

/** The request never left, or never reached anybody: the callee has done nothing. */
export class NotSent extends MainstayError {}

/** Follows no redirect: where it leads was agreed to by nobody. Rejects with NotSent (`tool_denied` for an address inside, `tool_failed`
 *  where nobody answers) or with what broke off after the request had left. */
export function send({ url, method, headers, body, signal, maxBytes, allowInside }: OutboundRequest): Promise<OutboundAnswer> {
  const refuse = (address: string): boolean => isInside(address) && !allowInside.includes(address);
  const denied = (): NotSent => new NotSent('tool_denied', `${url.hostname} is an address inside this network, which tools do not reach.`);
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1');
  if (isIP(host) !== 0 && refuse(host)) return Promise.reject(denied()); // no name, so nothing is looked up
  // every address of a name must be outside: which one is used is the system's choice
  const lookup: LookupFunction = (name, options, done) => resolve(name, { ...options, all: true }, (error, found: LookupAddress[]) => {
    if (error) return done(error, '');
    if (found.length === 0 || found.some(({ address }) => refuse(address))) return done(denied(), '');
    if (options.all) return done(null, found);
    const [{ address, family }] = found as [LookupAddress];
    return done(null, address, family);
  });
  const options: RequestOptions = { method, headers: { ...headers, ...(body === undefined ? {} : { 'content-length': String(Buffer.byteLength(body)) }) }, lookup, signal, agent: false };
  return new Promise((fulfil, reject) => {
    let connected = false;
    const outgoing = (url.protocol === 'https:' ? secureRequest : plainRequest)(url, options, (incoming) => { read(incoming, maxBytes).then(fulfil, reject); });
    outgoing.on('socket', (socket) => socket.once('connect', () => { connected = true; }));
    outgoing.on('error', (error) => reject(error instanceof NotSent || connected ? error : new NotSent('tool_failed', `${url.host} was not reached: ${(error as NodeJS.ErrnoException).code ?? error.message}.`)));
    outgoing.end(body);
  });
}

async function read(incoming: IncomingMessage, maxBytes: number): Promise<OutboundAnswer> {
  const parts: Buffer[] = [];
  let length = 0;
  for await (const part of incoming as AsyncIterable<Buffer>) {
    parts.push(part.subarray(0, maxBytes - length));
    length += part.length;
    if (length > maxBytes) break; // leaves the loop and with it the connection
  }
  return { status: incoming.statusCode ?? 0, headers: incoming.headers, body: Buffer.concat(parts), isCut: length > maxBytes };
}
