/** Makes docs/report.png, the README's picture: the beginning of a report of a capture in this repository. */
import { join } from 'node:path';
import { open, ReportPlace, startBrowser } from '../test/tap/page.ts';

const root = join(import.meta.dirname, '..');
process.env.TZ = 'UTC';
using place = new ReportPlace();
const browser = await startBrowser();
try {
  const report = place.report('test/captures/failures/busy.pcapng');
  const { page } = await open(browser, report, {
    viewport: { width: 1280, height: 1034 },
    colorScheme: 'light',
  });
  await page.screenshot({ path: join(root, 'docs/report.png') });
} finally {
  await browser.close();
}
