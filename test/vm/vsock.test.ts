/**
 * Agent and proxy over AF_VSOCK. This machine has neither /dev/vhost-vsock nor a loopback, so both run inside one guest
 * whose kernel has the loopback (test/vsock): the same agent, proxy, shim and command line as here. What those tests
 * report is counted here, one by one.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { runInGuest } from '../vsock/guest.ts';
import { guestImage } from './guest-image.ts';

interface InnerReport {
  readonly success: boolean;
  readonly numTotalTests: number;
  readonly numPassedTests: number;
  readonly testResults: readonly {
    readonly name: string;
    readonly message: string;
    readonly assertionResults: readonly InnerTest[];
  }[];
}

interface InnerTest {
  readonly fullName: string;
  readonly status: string;
  readonly failureMessages: readonly string[];
}

/** Fewer means that a file was not found, or that a suite has lost its body. */
const expectedTests = 30;

describe('in a guest with a vsock loopback', () => {
  const results = mkdtempSync(join(tmpdir(), 'coracle-vsock-results-'));
  let report: InnerReport;
  let output = '';

  beforeAll(async () => {
    const vitest = ['node_modules/.bin/node', 'node_modules/vitest/vitest.mjs', 'run'];
    const options = ['--config', 'test/vsock/vitest.config.ts', '--configLoader', 'runner'];
    const reporters = ['--reporter=verbose', '--reporter=json', '--outputFile.json=/results/report.json'];
    const ended = await runInGuest([...vitest, ...options, ...reporters], { image: guestImage(), results });
    output = ended.output;
    try {
      report = JSON.parse(readFileSync(join(results, 'report.json'), 'utf8')) as InnerReport;
    } catch (cause) {
      throw new Error(`the guest left no report; vitest there ended with ${ended.code}:\n${output}`, {
        cause,
      });
    }
  }, 600_000);
  afterAll(() => rmSync(results, { recursive: true, force: true }));

  const tests = (): InnerTest[] => report.testResults.flatMap((file) => file.assertionResults);

  test('every test of test/vsock ran, and none was skipped', () => {
    const notPassed = tests().filter(({ status }) => status !== 'passed');
    const messages = report.testResults.map(({ name, message }) => `${name}: ${message}`);
    expect(report.numTotalTests, messages.join('\n')).toBeGreaterThanOrEqual(expectedTests);
    expect(notPassed, output).toEqual([]);
    expect({ passed: report.numPassedTests, success: report.success }).toEqual({
      passed: report.numTotalTests,
      success: true,
    });
  });

  test.each([
    ['sockets', /16 MiB pass both ways/],
    ['streams', /over vsock .*\d MiB through stdin of the command line/],
    ['a killed proxy', /over vsock a killed proxy loses and doubles nothing/],
    ['a killed agent', /a killed virtual machine ends run at once/],
    ['who may connect', /the agent takes no link from/],
  ])('among them are those of %s', (_, name) => {
    expect(tests().filter(({ fullName, status }) => name.test(fullName) && status === 'passed')).not.toEqual(
      [],
    );
  });
});
