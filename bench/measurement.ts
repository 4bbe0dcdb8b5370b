// One measurement of one peer: an empty database, fresh processes, calls to them by message, and their end by pid whatever
// happened. What the processes write goes to files of the measurement, whose last lines are told when one of them ends.
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { pause } from '../src/clock.ts';
import { endProcess, markOf, tailOf } from '../src/dev/servers/processes.ts';
import type { Commands } from './host.ts';
import { SIZES, type Peer, type Place, type Prepared, type SizeName, type Variant, type Workload } from './peer.ts';
import type { OwnServers } from './servers.ts';
import type { TaskOptions } from './tasks.ts';
import { cpuMs } from './usage.ts';

const CALL_LIMIT_MS = 300_000;

type Role = 'worker' | 'producer' | 'aside';
type Argument<C extends keyof Commands> = Parameters<Commands[C]> extends [infer A, ...unknown[]] ? A : undefined;
type Answer<C extends keyof Commands> = Awaited<ReturnType<Commands[C]>>;
interface Message { readonly ready?: string; readonly seq: number; readonly value: unknown; readonly error?: string }

export interface Subject { readonly name: string; readonly peer: Peer; readonly variant: Variant }
export interface Cpu { readonly server: number; readonly worker: number; readonly producer: number }

export class Measurement {
  readonly dir: string;
  readonly #subject: Subject;
  readonly #place: Place;
  readonly #prepared: Prepared;
  readonly #sizes: Readonly<Record<string, number>>;
  readonly #profileDir: string | undefined;
  readonly #hosts: Host[] = [];

  private constructor(subject: Subject, place: Place, prepared: Prepared, sizes: Readonly<Record<string, number>>, profileDir: string | undefined) {
    this.dir = place.dir;
    this.#subject = subject;
    this.#place = place;
    this.#prepared = prepared;
    this.#sizes = sizes;
    this.#profileDir = profileDir;
  }

  static async open(servers: OwnServers, subject: Subject, workload: Workload, sizes: Readonly<Record<string, number>>, profileDir: string | undefined): Promise<Measurement> {
    const { peer, variant } = subject;
    const prepared = await peer.prepare(servers, variant.options, workload);
    const place: Place = { workload, dir: servers.dir, redisUrl: servers.redisUrl, databaseUrl: prepared.databaseUrl ?? '', concurrency: 50, options: variant.options, more: prepared.more ?? {}, recovering: false };
    const measurement = new Measurement(subject, place, prepared, sizes, profileDir);
    if (prepared.aside) await measurement.#start('aside', {}, {});
    return measurement;
  }

  get standsBy(): boolean { return this.#subject.variant.standsBy !== false; }
  size(name: SizeName): number { return this.#sizes[name] ?? this.#subject.variant.sizes?.[name] ?? SIZES[name]; }
  worker(change: Partial<Place> = {}, options: TaskOptions = {}): Promise<Host> { return this.#start('worker', change, options); }
  producer(): Promise<Host> { return this.#start('producer', {}, {}); }
  serverBytes(): Promise<Record<string, number>> { return this.#subject.peer.serverBytes(this.#place); }

  /** CPU milliseconds used so far. */
  cpu(worker: Host, producer: Host): Cpu {
    const aside = this.#hosts.filter(({ role }) => role === 'aside').map(({ pid }) => pid);
    return { server: cpuMs([...this.#prepared.serverPids, ...aside]), worker: cpuMs([worker.pid]), producer: cpuMs([producer.pid]) };
  }

  async close(): Promise<void> {
    await Promise.all(this.#hosts.map((host) => host.end()));
    await this.#prepared.stop?.();
  }

  async #start(role: Role, change: Partial<Place>, options: TaskOptions): Promise<Host> {
    const host = new Host(role, this.#subject, join(this.dir, `${this.#subject.name.replace(/\W+/g, '-')}-${role}.log`), this.#profileDir);
    this.#hosts.push(host);
    await host.call('start', { place: { ...this.#place, ...change }, options });
    return host;
  }
}

export class Host {
  readonly role: Role;
  readonly #child: ChildProcess;
  readonly #log: string;
  readonly #open = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>();
  readonly #up: Promise<unknown>;
  #seq = 0;

  constructor(role: Role, { name, peer: { nodeFlags = [] } }: Subject, log: string, profileDir: string | undefined) {
    this.role = role;
    this.#log = log;
    const out = openSync(log, 'a');
    const profile = profileDir === undefined || role === 'aside' ? [] : ['--cpu-prof', `--cpu-prof-dir=${profileDir}`, `--cpu-prof-name=${name.replace(/\W+/g, '-')}-${role}-${Date.now()}.cpuprofile`];
    this.#child = fork(new URL('./host.ts', import.meta.url), [role, name], { stdio: ['ignore', out, out, 'ipc'], env: { NODE_COMPILE_CACHE: join(dirname(log), 'compiled'), ...process.env }, execArgv: ['--expose-gc', '--disable-warning=ExperimentalWarning', ...nodeFlags, ...profile] });
    closeSync(out);
    this.#up = new Promise<void>((resolve) => { this.#child.once('message', () => resolve()); });
    this.#child.on('message', (message) => this.#answered(message as Message));
    this.#child.once('exit', (code, signal) => {
      for (const { reject } of this.#open.values()) reject(new Error(`${role} of ${name} ended (${code ?? signal ?? ''}): ${tailOf(this.#log, 4)}`));
      this.#open.clear();
    });
  }

  get pid(): number { return this.#child.pid ?? 0; }

  async call<C extends keyof Commands>(command: C, argument: Argument<C>): Promise<Answer<C>> {
    const seq = ++this.#seq;
    const late = new AbortController();
    const answer = new Promise<unknown>((resolve, reject) => { this.#open.set(seq, { resolve, reject }); });
    void this.#up.then(() => this.#child.send({ seq, command, argument }));
    try {
      return await Promise.race([answer, pause(CALL_LIMIT_MS, late.signal).then(() => { throw new Error(`${command} took longer than ${CALL_LIMIT_MS} ms`); })]) as Answer<C>;
    } finally {
      late.abort();
    }
  }

  kill(): void { this.#child.kill('SIGKILL'); }

  async end(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const gone = once(this.#child, 'exit');
    await this.call('stop', undefined).catch(() => undefined); // it may be gone already
    if (await Promise.race([gone, pause(3_000)])) return;
    await endProcess(markOf(this.pid), 'SIGTERM', 3_000);
  }

  #answered({ ready, seq, value, error }: Message): void {
    const call = this.#open.get(seq);
    if (ready !== undefined || !call) return;
    this.#open.delete(seq);
    if (error === undefined) call.resolve(value);
    else call.reject(new Error(error));
  }
}
