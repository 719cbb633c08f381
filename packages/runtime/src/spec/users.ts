import { readFileSync } from 'node:fs';

/** The name of a user of this host, or the bare number (passwd(5)). */
export function getuidName(uid: number): string {
  try {
    const line = readFileSync('/etc/passwd', 'utf8')
      .split('\n')
      .find((entry) => entry.split(':')[2] === String(uid));
    return line?.split(':')[0] ?? String(uid);
  } catch {
    return String(uid);
  }
}
