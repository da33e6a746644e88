import tseslint from 'typescript-eslint'

const impure = ['Date', 'setTimeout', 'setInterval', 'setImmediate', 'queueMicrotask', 'process', 'performance', 'Buffer', 'crypto', 'fetch']
  .map((name) => ({ name, message: 'The core is pure: time, randomness and bytes come in as arguments.' }))
const namedOnly = { selector: 'ExportDefaultDeclaration', message: 'Named exports only.' }
const noEnum = { selector: 'TSEnumDeclaration', message: 'Use a const object or a union.' }

export default tseslint.config(
  { ignores: ['dist*/', '**/*.cjs', '**/*.mjs', '**/*.js'] },
  tseslint.configs.strictTypeChecked,
  {
    languageOptions: { parserOptions: { project: ["tsconfig.json"], tsconfigRootDir: import.meta.dirname } },
    linterOptions: { reportUnusedDisableDirectives: 'error' },
    rules: {
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_', destructuredArrayIgnorePattern: '^_' }],
      // noUncheckedIndexedAccess makes every typed-array read `number | undefined`. Bounds are the caller's proof there,
      // and `!` is erased, where `?? 0` would cost a branch per byte on the hot path.
      '@typescript-eslint/no-non-null-assertion': 'off',
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true, allowBoolean: true }],
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true, ignoreVoidReturningFunctions: true }],
      '@typescript-eslint/prefer-literal-enum-member': 'off',
      'max-lines': ['error', { max: 500, skipBlankLines: true, skipComments: true }],
      'no-restricted-syntax': ['error', namedOnly, noEnum],
    },
  },
  {
    files: ['src/core/**'],
    rules: {
      'no-restricted-globals': ['error', ...impure],
      'no-restricted-properties': ['error', { object: 'Math', property: 'random', message: 'Take randomness from the crypto provider.' }],
      'no-restricted-syntax': ['error', namedOnly, noEnum, { selector: ':function[async=true]', message: 'The core is synchronous.' }, { selector: 'NewExpression[callee.name="Promise"]', message: 'The core is synchronous.' }],
    },
  },
  {
    files: ['vitest.config.ts'],
    rules: { 'no-restricted-syntax': 'off' },
  },
  {
    files: ['test/**', 'bench/**'],
    rules: { 'max-lines': ['error', { max: 700, skipBlankLines: true, skipComments: true }] },
  },
)
