/** Elements. What comes from a capture is set as text or as an attribute that holds text, never as markup. */

export type Child = Node | string | undefined | false;

export interface Properties {
  readonly class?: string;
  readonly title?: string;
  readonly id?: string;
  readonly role?: string;
  readonly label?: string;
  readonly hidden?: boolean;
  /** By name; a style attribute is what the page's policy forbids. */
  readonly style?: Readonly<Record<string, string>>;
  readonly on?: Readonly<Record<string, (event: Event) => void>>;
  readonly attributes?: Readonly<Record<string, string | number>>;
}

export function h<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  properties: Properties = {},
  ...children: readonly Child[]
): HTMLElementTagNameMap[Tag] {
  return fill(document.createElement(tag), properties, children);
}

export function s<Tag extends keyof SVGElementTagNameMap>(
  tag: Tag,
  attributes: Readonly<Record<string, string | number>> = {},
  ...children: readonly Child[]
): SVGElementTagNameMap[Tag] {
  return fill(document.createElementNS('http://www.w3.org/2000/svg', tag), { attributes }, children);
}

function fill<E extends HTMLElement | SVGElement>(
  element: E,
  properties: Properties,
  children: readonly Child[],
): E {
  const { title, id, role, label, hidden, style = {}, on = {}, attributes = {} } = properties;
  const set = { class: properties.class, title, id, role, 'aria-label': label, ...attributes };
  for (const [name, value] of Object.entries(set))
    if (value !== undefined) element.setAttribute(name, String(value));
  if (hidden) element.setAttribute('hidden', '');
  for (const [name, value] of Object.entries(style)) element.style.setProperty(name, value);
  for (const [name, listener] of Object.entries(on)) element.addEventListener(name, listener);
  for (const child of children) if (child) element.append(child);
  return element;
}

export function percent(fraction: number): string {
  return `${(100 * fraction).toFixed(4)}%`;
}
