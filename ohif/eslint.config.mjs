// What the types do not see; names are checked by TypeScript.
import js from '@eslint/js';

export default [
  { ignores: ['**/node_modules/', '**/types/'] },
  js.configs.recommended,
  {
    linterOptions: { reportUnusedDisableDirectives: 'error' },
    rules: {
      'no-undef': 'off',
      'no-empty': ['error', { allowEmptyCatch: true }],
      'no-unused-vars': ['error', { caughtErrors: 'none', ignoreRestSiblings: true }],
      eqeqeq: 'error',
      'no-var': 'off',
      'prefer-const': 'error',
    },
  },
  { files: ['**/explorer.js'], languageOptions: { sourceType: 'script' } },
];
