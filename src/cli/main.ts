// The command line `mainstay`: one program, one file per group of commands. It promises exit code 0 for done, 1 for an
// error (`code: detail` and the advice on stderr) and 2 for bad usage, and `--json` on every command that prints.
// It must never print a stack trace for an error that the user can act on.
import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { MainstayApiError } from '../client/client.ts';
import { isMainstayError, messageOf } from '../domain/errors.ts';
import { addApprovalCommands } from './approval-commands.ts';
import { addScheduleCommands } from './schedule-commands.ts';
import { addDocumentCommands } from './document-commands.ts';
import { addErasureCommands } from './erasure-commands.ts';
import { addKeyCommands } from './key-commands.ts';
import { addLookUpCommands } from './look-up-commands.ts';
import { addMoneyCommands } from './money-commands.ts';
import { addBatchCommands } from './batch-commands.ts';
import { addBreakerCommands } from './breaker-commands.ts';
import { addMemoryCommands } from './memory-commands.ts';
import { addIndexCommands } from './index-commands.ts';
import { addExplainCommand, addOperateCommands } from './operate-commands.ts';
import { note } from './output.ts';
import { addPermissionCommands } from './permission-commands.ts';
import { addProcessCommands } from './process-commands.ts';
import { addRunCommands } from './run-commands.ts';

process.stdout.on('error', (error: NodeJS.ErrnoException) => { if (error.code === 'EPIPE') process.exit(0); throw error; }); // `| head` has read enough

try {
  await makeProgram().parseAsync();
} catch (error) {
  process.exitCode = report(error);
}

function makeProgram(): Command {
  const program = new Command('mainstay')
    .description('Submit and follow runs of agents; look at what they did and remember; operate the fleet.')
    .version(versionOf(), '-V, --version')
    .showHelpAfterError('(--help shows what there is)')
    .exitOverride(); // inherited by every command added below
  program.commandsGroup('Work:');
  addRunCommands(program);
  addExplainCommand(program);
  addApprovalCommands(program);
  addScheduleCommands(program);
  addMemoryCommands(program);
  addDocumentCommands(program);
  addLookUpCommands(program);
  addMoneyCommands(program);
  addPermissionCommands(program);
  addErasureCommands(program);
  program.commandsGroup('Operate (DATABASE_URL):');
  addKeyCommands(program);
  addOperateCommands(program);
  addIndexCommands(program);
  addBreakerCommands(program);
  addBatchCommands(program);
  program.commandsGroup('Processes:');
  addProcessCommands(program);
  return program;
}

/** Says what went wrong; answers the exit code. */
function report(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2; // commander has said it
  if (error instanceof MainstayApiError) {
    note(`${error.code}: ${error.message}`);
    for (const { path, message } of error.fields) note(`  ${path}: ${message}`);
    note(`  ${error.advice}${error.requestId === undefined ? '' : ` (request ${error.requestId})`}`);
  } else if (isMainstayError(error)) {
    note(`${error.code}: ${error.message}`);
    if (error.code !== 'bad_request') note(`  ${error.kind.advice}`); // our own sentence names what to correct
  } else note(`internal: ${messageOf(error)}`);
  return 1;
}

/** From source and from dist/ the package's file is at another height. */
function versionOf(): string {
  for (const path of ['../../package.json', '../../../package.json']) {
    try { return (JSON.parse(readFileSync(new URL(path, import.meta.url), 'utf8')) as { version: string }).version; } catch { /* the other one */ }
  }
  return 'unknown';
}
