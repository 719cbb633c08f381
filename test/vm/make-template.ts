/** A process of its own that makes a template, for tests that kill it: CACHE SPEC. */
import { createQemuDriver, type TemplateSpec } from '@coracle/vm';

const [cacheDirectory, spec] = process.argv.slice(2) as [string, string];
await createQemuDriver({ accel: 'tcg', cacheDirectory }).makeTemplate(JSON.parse(spec) as TemplateSpec);
