/**
 * What scripts/test.ts wants to know of a vitest run, as JSON in the file `$CORACLE_TEST_REPORT`: how many tests passed,
 * and for each that did not, and each hook and file that failed, what it said. (vitest's own JSON leaves out the hooks.)
 */
import { writeFileSync } from 'node:fs';
import { stripVTControlCharacters } from 'node:util';
import type { SerializedError } from 'vitest';
import type { Reporter, TestModule } from 'vitest/node';

export interface TestReport {
  readonly passed: number;
  readonly failures: string[];
}

/** Enough to see what it was, at either end; the whole is in the run's output above. */
const firstLines = 8;
const lastLines = 8;

export default class TestReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly SerializedError[]): void {
    let passed = 0;
    const failures: string[] = [];
    const fail = (what: string, errors: readonly SerializedError[] = []): void =>
      void failures.push([what, ...errors.map(linesOf)].join('\n'));
    for (const module of modules) {
      const file = module.relativeModuleId;
      if (module.errors().length > 0) fail(`${file} could not run`, module.errors());
      for (const suite of module.children.allSuites())
        if (suite.errors().length > 0) fail(`${file}: ${suite.fullName}: a hook failed`, suite.errors());
      for (const test of module.children.allTests()) {
        const { state, errors } = test.result();
        if (state === 'passed') passed++;
        else fail(`${file}: ${test.fullName} (${state})`, errors);
      }
    }
    if (unhandled.length > 0) fail('errors outside of any test', unhandled);
    const report: TestReport = { passed, failures };
    writeFileSync(process.env.CORACLE_TEST_REPORT as string, JSON.stringify(report));
  }
}

function linesOf({ message, diff, stack }: SerializedError): string {
  const where = stack?.split('\n').find((line) => line.includes('/test/') || line.includes('/packages/'));
  const lines = stripVTControlCharacters(
    [message, diff, where?.trim().replace(`${process.cwd()}/`, '')].filter(Boolean).join('\n'),
  ).split('\n');
  if (lines.length <= firstLines + lastLines) return lines.join('\n');
  return [...lines.slice(0, firstLines), '…', ...lines.slice(-lastLines)].join('\n');
}
