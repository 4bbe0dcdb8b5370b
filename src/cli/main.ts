// The command line `mainstay`: one program, one file per group of commands. It promises exit code 0 for done, 1 for an
// error (`code: detail` and the advice on stderr) and 2 for bad usage, and `--json` on every command that prints.
// It must never print a stack trace for an error that the user can act on.
export {};
