// Keeps suspects apart: a run that was inside a step when its worker crashed must not take other runs with it again. After its
// first crash it may share a worker with other suspects, after the next it is alone. Its worker takes nothing new meanwhile and
// hands its other runs back at their next checkpoint. It lasts until the suspect has committed a step, or for a window that
// doubles with each crash: so one suspect costs other tenants seconds, and one that crashes late is found nevertheless.
// Where the others do not make way within that time the suspect is handed back and comes again, with more patience.
import { pause } from '../clock.ts';
import { SUSPECT_GROUP_CRASHES, SUSPECT_RETRY_MS, SUSPECT_WINDOW_MS } from '../domain/tunables.ts';
import { isGuarded } from '../guards.ts';

/** `cleared`: was a suspect; others of its group may be with it, and new runs. */
type Standing = 'plain' | 'suspect' | 'alone' | 'cleared';

/** id: of the claim, not of the run: one run may be here twice after a fence. */
export interface Suspect { readonly id: string; readonly crashes: number; readonly stepClaims: number }

export type Admission =
  /** `windowMs`: for so long it is kept apart, unless it commits a step before. */
  | { readonly admitted: true; readonly alone: boolean; readonly waited: boolean; readonly windowMs: number }
  | { readonly admitted: false; readonly wakeInMs: number };

export class Suspects {
  readonly #inside = new Map<string, Standing>();
  readonly #waiting = new Map<string, { readonly standing: 'suspect' | 'alone'; readonly go: AbortController }>();
  /** Something that is no suspect was refused: there is nothing for this worker to take until the suspects have gone. */
  #refused = false;
  #wasOpen = true;
  #waitingForOpen: (() => void)[] = [];
  readonly #onOpen: () => void;

  /** onOpen: called when the worker may take runs again. */
  constructor(onOpen: () => void = () => undefined) { this.#onOpen = onOpen; }

  /** True while the worker may take a run. */
  get open(): boolean { return this.#waiting.size === 0 && !this.#any('alone') && !(this.#refused && this.#any('suspect')); }
  /** Resolves when it may, or after `withinMs`. */
  async whenOpen(withinMs: number): Promise<void> {
    if (this.open) return;
    const opened = new AbortController();
    this.#waitingForOpen.push(() => { opened.abort(); });
    await pause(withinMs, opened.signal);
  }

  /** Asked of every claimed run before its step begins. Ends with `leave`, if it was admitted. */
  async admit(run: Suspect): Promise<Admission> {
    const standing = standingOf(run);
    const windowMs = SUSPECT_WINDOW_MS * 2 ** Math.max(0, run.crashes - 1);
    const isFree = (): boolean => this.#fits(standing);
    const hopeless = standing === 'plain' ? !isFree() : this.#any('alone') || this.#waitsAlone() || (standing === 'alone' && (this.#any('suspect') || this.#waiting.size > 0));
    if (hopeless) {
      this.#refused ||= standing === 'plain';
      this.#changed();
      return { admitted: false, wakeInMs: standing === 'plain' ? 0 : SUSPECT_RETRY_MS * (0.5 + Math.random()) };
    }
    const waited = standing !== 'plain' && !isFree();
    if (waited && !(await this.#wait(run.id, standing as 'suspect' | 'alone', SUSPECT_WINDOW_MS * 2 ** Math.max(0, run.stepClaims - 2)))) return { admitted: false, wakeInMs: SUSPECT_RETRY_MS };
    this.#inside.set(run.id, standing);
    this.#changed();
    return { admitted: true, alone: standing === 'alone', waited, windowMs };
  }

  /** True where the run is to be handed back at its next checkpoint: a suspect waits for the worker. */
  makesWay(id: string): boolean {
    if (this.#waiting.size === 0) return false;
    const standing = this.#inside.get(id);
    return standing === 'plain' || (standing === 'cleared' && this.#waitsAlone());
  }

  /** It has committed a step, or its window is over: others may join. True = it was kept apart until now. */
  clear(id: string): boolean {
    const standing = this.#inside.get(id);
    if (standing !== 'suspect' && standing !== 'alone') return false;
    this.#inside.set(id, 'cleared');
    this.#changed();
    return true;
  }

  leave(id: string): void {
    this.#inside.delete(id);
    this.#changed();
  }

  async #wait(id: string, standing: 'suspect' | 'alone', waitMs: number): Promise<boolean> {
    const go = new AbortController();
    this.#waiting.set(id, { standing, go });
    this.#changed();
    await pause(waitMs, go.signal);
    this.#waiting.delete(id);
    if (!go.signal.aborted) this.#changed();
    return go.signal.aborted;
  }

  #fits(standing: Standing): boolean {
    if (standing === 'alone') return this.#inside.size === 0;
    if (standing === 'suspect') return !this.#any('plain') && !this.#any('alone') && !this.#waitsAlone();
    return !this.#any('suspect') && !this.#any('alone') && this.#waiting.size === 0;
  }

  #changed(): void {
    if (!this.#any('suspect')) this.#refused = false;
    for (const [id, { standing, go }] of this.#waiting) {
      const fits = standing === 'alone' ? this.#inside.size === 0 : !this.#any('plain');
      if (!fits) continue;
      this.#waiting.delete(id);
      this.#inside.set(id, standing); // its place, before anybody else asks
      go.abort();
    }
    if (this.open && !this.#wasOpen) {
      for (const one of this.#waitingForOpen.splice(0)) one();
      this.#onOpen();
    }
    this.#wasOpen = this.open;
  }

  #any(standing: Standing): boolean { return [...this.#inside.values()].includes(standing); }
  #waitsAlone(): boolean { return [...this.#waiting.values()].some(({ standing }) => standing === 'alone'); }
}

function standingOf({ crashes }: Suspect): Standing {
  if (crashes === 0 || !isGuarded('suspect-alone')) return 'plain';
  return crashes <= SUSPECT_GROUP_CRASHES ? 'suspect' : 'alone';
}
