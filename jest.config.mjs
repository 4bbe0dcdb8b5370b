// Jest under ESM: TypeScript by swc without a type check (that is `check`'s work), real servers from the global setup.
// Needs NODE_OPTIONS=--experimental-vm-modules; `npm test` sets it. A jest started by a test uses the servers of its own
// (MAINSTAY_TEST_STACK), and with MAINSTAY_BREAK=<guard> it gets src/guards.ts with that guard switched off.
const { MAINSTAY_TEST_STACK: given, MAINSTAY_BREAK: broken } = process.env;

export default {
  roots: ['<rootDir>/test'],
  testMatch: ['**/*.test.ts'],
  extensionsToTreatAsEsm: ['.ts'],
  transform: {
    '^.+\\.ts$': ['@swc/jest', { jsc: { target: 'es2023', parser: { syntax: 'typescript' } }, module: { type: 'es6' } }],
  },
  testEnvironment: '<rootDir>/test/support/environment.mjs',
  ...(given ? {} : { globalSetup: '<rootDir>/test/support/global-setup.ts', globalTeardown: '<rootDir>/test/support/global-teardown.ts' }),
  ...(broken ? { moduleNameMapper: { '^\\.{1,2}(?:/\\.\\.)*/guards\\.ts$': '<rootDir>/test/support/broken-guards.ts' } } : {}),
  testSequencer: '<rootDir>/test/support/sequencer.mjs',
  testTimeout: 60_000,
  maxWorkers: 2,
};
