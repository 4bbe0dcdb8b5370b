// Lint: typescript-eslint's type-checked rules, with the types of tsconfig.json. What the compiler or the layers test
// says already is not said twice.
import tseslint from 'typescript-eslint';

export default tseslint.config(
  { ignores: ['node_modules/', '.node/', '.mainstay/', 'dist/', 'src/generated/', '**/*.mjs'] },
  ...tseslint.configs.recommendedTypeChecked,
  {
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/ban-ts-comment': 'error',
      '@typescript-eslint/no-unused-vars': 'off', // the compiler's noUnusedLocals and noUnusedParameters
      '@typescript-eslint/require-await': 'off', // an async function keeps a port's shape and turns throws into rejections
      '@typescript-eslint/consistent-type-imports': 'off', // verbatimModuleSyntax
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true, allowBoolean: true }],
      '@typescript-eslint/unbound-method': 'off', // our services are objects of closures; none of their methods uses this
    },
  },
  {
    files: ['test/**', 'bench/**'],
    rules: Object.fromEntries( // tests look at JSON and rows whose shape the assertion itself is about
      ['argument', 'assignment', 'call', 'member-access', 'return'].map((kind) => [`@typescript-eslint/no-unsafe-${kind}`, 'off'])),
  },
);
