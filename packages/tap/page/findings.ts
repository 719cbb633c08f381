/** What is wrong, first. */
import type { FindingData, ReportData } from '../src/report/data.ts';
import { h } from './dom.ts';
import type { Search } from './search.ts';

export function findings({ findings: all, damage, sandboxes }: ReportData, search: Search): HTMLElement {
  const cards = all.map((finding) => card(finding, sandboxes.length > 1));
  for (const [at, element] of cards.entries()) {
    const { title, text, cause, sandbox } = all[at] as FindingData;
    search.element(element, `${title} ${text} ${cause} ${sandbox}`);
  }
  const problems = all.filter(({ level }) => level === 'problem').length;
  const head =
    problems === 0
      ? h('p', { class: 'verdict good' }, 'Nothing is wrong in this capture.')
      : h('p', { class: 'verdict bad' }, problems === 1 ? 'One problem.' : `${problems} problems.`);
  return h(
    'section',
    { id: 'findings' },
    h('h2', {}, 'Diagnosis'),
    head,
    ...cards,
    damage.length > 0 &&
      h(
        'details',
        { class: 'card hint' },
        h('summary', {}, 'Parts of the file could not be read'),
        h('ul', {}, ...damage.map((text) => h('li', {}, text))),
      ),
  );
}

function card({ cause, level, sandbox, title, text, evidence }: FindingData, named: boolean): HTMLElement {
  return h(
    'article',
    { class: `card finding ${level}` },
    h(
      'header',
      {},
      h('h3', {}, `${title.charAt(0).toUpperCase()}${title.slice(1)}`),
      named && h('span', { class: 'chip' }, sandbox),
      h('code', { class: 'chip' }, cause),
    ),
    h('p', {}, level === 'hint' ? `Perhaps as it should be. ${text}` : text),
    h('ol', { class: 'evidence' }, ...evidence.map(({ text: line }) => h('li', {}, line))),
  );
}
