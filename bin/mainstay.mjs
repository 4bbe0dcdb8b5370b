#!/usr/bin/env node
// The command `mainstay`: the built program where there is one, otherwise the source, which Node 22.18 and later reads as it is.
import { existsSync } from 'node:fs';

const built = new URL('../dist/src/cli/main.js', import.meta.url);
await import(existsSync(built) ? built.href : new URL('../src/cli/main.ts', import.meta.url).href);
