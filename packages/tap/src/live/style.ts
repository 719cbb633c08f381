/** How things look: parameters of SGR (ECMA-48, 8.3.117). Nothing from a capture is ever part of one. */
export const style = {
  plain: '',
  bold: '1',
  faint: '38;5;245',
  rule: '38;5;239',
  bar: '48;5;24;38;5;255',
  barStrong: '48;5;24;38;5;231;1',
  barWarning: '48;5;24;38;5;221;1',
  barProblem: '48;5;160;38;5;231;1',
  accent: '38;5;81',
  good: '38;5;78',
  warning: '38;5;221',
  problem: '38;5;203',
  problemStrong: '38;5;203;1',
  key: '38;5;81;1',
} as const;

/** Put before a row's styles. */
export const SELECTED = '48;5;237';

export function styled(...parts: readonly string[]): string {
  return parts.filter((part) => part !== '').join(';');
}

/** Without colours (NO_COLOR) what is bold, inverse or underlined still is. */
export function withoutColours(parameters: string): string {
  const kept = parameters.replaceAll(/[34]8;(?:5;\d+|2;\d+;\d+;\d+)/g, '').split(';');
  return [...new Set(kept.filter((one) => /^[1347]$/.test(one)))].join(';');
}
