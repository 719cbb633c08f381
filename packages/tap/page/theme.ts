/** Light or dark: as the system has it, unless the reader chooses. Paper is white. */
import { h } from './dom.ts';

export function themeButton(): HTMLElement {
  const root = document.documentElement;
  const dark = window.matchMedia('(prefers-color-scheme: dark)');
  const isDark = (): boolean => (root.dataset.theme ?? (dark.matches ? 'dark' : 'light')) === 'dark';
  return h(
    'button',
    {
      class: 'theme',
      label: 'Light or dark',
      title: 'Light or dark',
      on: {
        click: () => {
          root.dataset.theme = isDark() ? 'light' : 'dark';
        },
      },
    },
    '◐',
  );
}
