/**
 * Changing one value of a JSON text: what is added looks like its neighbours, and all other text stays as it is.
 * jsonc-parser says where things are; its own edits would lay out the lines beside them anew.
 */
import { findNodeAtLocation, type Node, parseTree } from 'jsonc-parser';

type Path = readonly string[];

/** Sets a value; objects on the way to it are made. `text` is valid JSON, and an object. */
export function setValue(text: string, path: Path, value: unknown): string {
  const root = parseTree(text)!;
  const present = findNodeAtLocation(root, [...path]);
  if (present !== undefined) return splice(text, present.offset, end(present), JSON.stringify(value));
  // The deepest object that is there gets a new property, which holds what is missing below it.
  let depth = path.length - 1;
  while (findNodeAtLocation(root, path.slice(0, depth)) === undefined) depth--;
  const parent = findNodeAtLocation(root, path.slice(0, depth))!;
  const inner = path.slice(depth + 1).reduceRight((below, name) => ({ [name]: below }), value);
  return addProperty(text, parent, path[depth]!, inner, depth);
}

/** Takes a property out; nothing changes when it is not there. */
export function removeValue(text: string, path: Path): string {
  const property = findNodeAtLocation(parseTree(text)!, [...path])?.parent;
  const siblings = property?.parent?.children ?? [];
  if (property?.parent === undefined) return text;
  const at = siblings.indexOf(property);
  const [before, after] = [siblings[at - 1], siblings[at + 1]];
  if (before !== undefined) return splice(text, end(before), end(property), '');
  if (after !== undefined) return splice(text, property.offset, after.offset, '');
  return splice(text, property.parent.offset, end(property.parent), '{}');
}

function addProperty(text: string, parent: Node, name: string, value: unknown, depth: number): string {
  const last = parent.children?.at(-1);
  const whole = text.slice(parent.offset, end(parent));
  if (last !== undefined && !whole.includes('\n')) {
    const compact = JSON.stringify({ [name]: value }).slice(1, -1);
    return splice(text, end(last), end(last), `, ${compact.replaceAll('":', '": ')}`);
  }
  const { unit, lineEnd } = layoutOf(text);
  const indent = unit.repeat(depth + 1);
  const lines = `${JSON.stringify(name)}: ${JSON.stringify(value, null, unit)}`;
  const property = `${lineEnd}${indent}${lines.replaceAll('\n', lineEnd + indent)}`;
  if (last !== undefined) return splice(text, end(last), end(last), `,${property}`);
  return splice(text, parent.offset, end(parent), `{${property}${lineEnd}${unit.repeat(depth)}}`);
}

/** The first indentation and the line ends that the text has. */
function layoutOf(text: string): { unit: string; lineEnd: string } {
  return {
    unit: /^([ \t]+)\S/m.exec(text)?.[1] ?? '  ',
    lineEnd: text.includes('\r\n') ? '\r\n' : '\n',
  };
}

const end = (node: Node): number => node.offset + node.length;

const splice = (text: string, from: number, to: number, by: string): string =>
  text.slice(0, from) + by + text.slice(to);
