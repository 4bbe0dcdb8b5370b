// What the callers know, kept outside of the product: which runs they were told were accepted, on disk before anything else is
// done with them, and which requests never got an answer (whether those count, nobody was told).
import { closeSync, fsyncSync, openSync, writeSync } from 'node:fs';

export interface Accepted { readonly tenant: string; readonly key: string; /** uuid */ readonly id: string; readonly kind: string; readonly atMs: number }

export class AcceptLog {
  readonly accepted: Accepted[] = [];
  readonly lost: { readonly tenant: string; readonly key: string }[] = [];
  readonly #file: number;

  constructor(path: string) { this.#file = openSync(path, 'a'); }

  accept(run: Accepted): void {
    writeSync(this.#file, `${JSON.stringify(run)}\n`);
    fsyncSync(this.#file);
    this.accepted.push(run);
  }

  lose(request: { readonly tenant: string; readonly key: string }): void { this.lost.push(request); }

  close(): void { closeSync(this.#file); }
}
