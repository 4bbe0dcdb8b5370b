// node --import test/support/break-guards.mjs …: a process with one guard switched off (MAINSTAY_BREAK), for tests whose
// promise is kept by worker processes. Every other import of a guards.ts is left alone.
import { registerHooks } from 'node:module';

const broken = new URL('broken-guards.ts', import.meta.url).href;

registerHooks({
  resolve: (specifier, context, next) => (/^\.{1,2}(?:\/\.\.)*\/guards\.ts$/.test(specifier) && context.parentURL !== broken ? next(broken, context) : next(specifier, context)),
});
