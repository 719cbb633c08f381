/** Reports in Debian's Chromium. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core';

const root = join(import.meta.dirname, '../..');

/** Its sandbox needs a user that is not root; what it is shown are files of our own. */
export function startBrowser(): Promise<Browser> {
  return chromium.launch({
    executablePath: '/usr/bin/chromium',
    chromiumSandbox: process.getuid?.() !== 0,
  });
}

export class ReportPlace implements Disposable {
  readonly folder = mkdtempSync(join(tmpdir(), 'coracle-report-'));
  #count = 0;

  /** @returns the page's file */
  report(capture: string, ...options: string[]): string {
    const output = join(this.folder, `${this.#count++}.html`);
    const program = join(root, 'packages/tap/src/main.ts');
    execFileSync(process.execPath, [program, 'report', capture, '--output', output, ...options], {
      cwd: root,
    });
    return output;
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true });
  }
}

export interface Opened {
  readonly page: Page;
  /** What went wrong in it: errors, what its policy has stopped, requests, dialogs. */
  readonly complaints: string[];
  readonly html: string;
}

/** Without a network, as a page must work. */
export async function open(
  browser: Browser,
  file: string,
  options: BrowserContextOptions = {},
): Promise<Opened> {
  const context = await browser.newContext({
    offline: true,
    viewport: { width: 1440, height: 900 },
    ...options,
  });
  const page = await context.newPage();
  const complaints: string[] = [];
  page.on('pageerror', ({ message }) => complaints.push(message));
  page.on('console', (message) => complaints.push(`${message.type()}: ${message.text()}`));
  page.on('dialog', (dialog) => {
    complaints.push(`dialog ${dialog.message()}`);
    void dialog.dismiss();
  });
  const address = pathToFileURL(file).href;
  page.on('request', (request) => {
    if (request.url() !== address) complaints.push(`asks for ${request.url()}`);
  });
  await page.goto(address);
  await page.locator('main').waitFor();
  return { page, complaints, html: readFileSync(file, 'utf8') };
}
