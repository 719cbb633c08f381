import { CliError } from '../cli/errors.ts';

/** What runc means to allow (libcontainer/factory_linux.go; by a slip of the pen it allows the comma as well). */
const pattern = /^[\w+\-.]+$/;
/** NAME_MAX of every Linux file system: the id is a folder's name. runc's limit is 1024, where mkdir fails. */
const maxLength = 255;

/** @throws CliError that names what is wrong with the id */
export function checkContainerId(id: string): string {
  const reason = reasonAgainst(id);
  if (reason === undefined) return id;
  throw new CliError(
    `invalid container ID format: ${JSON.stringify(id.slice(0, 80))} ${reason}; ` +
      'use letters, digits, and the characters _ + - . only',
  );
}

function reasonAgainst(id: string): string | undefined {
  if (id === '') return 'is empty';
  if (id.length > maxLength) return `has ${id.length} characters, ${maxLength} are allowed`;
  if (id.includes('/')) return 'contains a slash';
  if (id === '.' || id === '..') return 'is a path';
  return pattern.test(id) ? undefined : 'contains a character that is not allowed';
}
