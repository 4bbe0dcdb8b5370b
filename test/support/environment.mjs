// One test file's world. After its last hook it runs what test/support/stack.ts registered (drop the database, close
// connections), telling it whether a test of the file failed: then the database is kept for whoever looks.
import { TestEnvironment } from 'jest-environment-node';

export default class StackEnvironment extends TestEnvironment {
  #failed = false;

  async handleTestEvent(event) {
    if (event.name === 'test_done' && event.test.errors.length > 0) this.#failed = true;
    if (event.name === 'hook_failure' || event.name === 'error') this.#failed = true;
    if (event.name !== 'run_finish') return; // from here on no hook of the file runs, and modules can still be loaded
    const keeps = this.#failed && !process.env.MAINSTAY_BREAK; // a test that is meant to fail leaves nothing
    for (const work of this.global.mainstayCleanups ?? []) await work(keeps);
  }
}
