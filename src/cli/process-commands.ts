// `mainstay api`, `worker` and `dev`: the processes of the fleet, each in the foreground of this one. The same modules start
// a container; here only their configuration is completed: the examples are the agents unless AGENTS_MODULE names others.
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Option, type Command } from 'commander';
import { readConfig } from '../config.ts';
import { MainstayError, messageOf } from '../domain/errors.ts';

/** Importing one starts it; it then runs until a signal. */
const roots = {
  agent: () => import('../../workers/agent.ts'),
  memory: () => import('../../workers/memory.ts'),
  maintenance: () => import('../../workers/maintenance.ts'),
} as const;

export function addProcessCommands(program: Command): void {
  program.command('api').description('serve the HTTP API until a signal').action(async () => {
    prepare();
    await import('../../workers/api.ts');
  });
  program.command('worker').description('run a worker until a signal')
    .addOption(new Option('--pool <pool>', 'which one').choices(Object.keys(roots)).makeOptionMandatory())
    .action(async ({ pool }: { pool: keyof typeof roots }) => {
      prepare();
      await roots[pool]();
    });
  program.command('dev').description('a whole fleet on this machine, with local servers and a demonstration (npm start); in a checkout only')
    .option('--once', 'end after the demonstration').option('--report <file>', 'write what was seen, as JSON')
    .action(dev);
}

/** A configuration that is wrong is told here in plain lines; the process itself would log it as JSON. */
function prepare(): void {
  // From source and from dist/ the examples of the same build; two builds in one process would not know each other's errors.
  process.env['AGENTS_MODULE'] ||= fileURLToPath(new URL(`../../examples/agents${import.meta.url.endsWith('.ts') ? '.ts' : '.js'}`, import.meta.url));
  try { readConfig(); } catch (error) { throw new MainstayError('bad_request', messageOf(error)); }
}

async function dev({ once, report }: { once?: boolean; report?: string }): Promise<void> {
  // Not a module path the compiler could follow: what is for development is not part of a build. dist/ lies in the checkout.
  const start = ['../dev/start.ts', '../../../src/dev/start.ts'].map((path) => new URL(path, import.meta.url)).find((url) => existsSync(url));
  if (!start) throw new MainstayError('bad_request', 'This is not a checkout: `mainstay dev` works from source only.');
  process.argv = [process.execPath, fileURLToPath(start), ...(once ? ['--once'] : []), ...(report === undefined ? [] : ['--json', report])];
  await import(start.href);
}
