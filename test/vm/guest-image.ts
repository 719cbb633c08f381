import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';

const checkout = dirname(dirname(import.meta.dirname));

/** The image that the tests boot: `$CORACLE_IMAGE`, else what `make image` leaves. Skipping would be failing. */
export function guestImage(): string {
  const image = process.env.CORACLE_IMAGE ?? join(checkout, 'out', 'image');
  if (!existsSync(join(image, 'manifest.json'))) {
    throw new Error(`there is no guest image in ${image}: run \`make image\`, or set CORACLE_IMAGE`);
  }
  return image;
}
