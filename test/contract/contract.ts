/** Everything that "Must hold" of a container, whatever carries its streams: one body, run for each driver. */
import { afterAll, beforeAll, describe } from 'vitest';
import { badInputSuite } from './bad-input.ts';
import { type Amounts, amountsOf, bytesSuite } from './bytes.ts';
import { exitOrderSuite } from './exit-order.ts';
import { exitsSuite } from './exits.ts';
import { floodSuite } from './flood.ts';
import { killsSuite } from './kills.ts';
import { lifecycleSuite } from './lifecycle.ts';
import { linkSuite } from './link.ts';
import { killedVmSuite, proxyLossSuite, vmLossSuite } from './loss.ts';
import { type DriverName, Place, SharedContainer, type TransportName } from './place.ts';
import { stdinExecSuite, stdinRunSuite } from './stdin.ts';
import { terminalRunSuite, terminalSuite } from './terminal.ts';

export function contract(driver: DriverName): void {
  let place: Place;
  let container: SharedContainer;
  beforeAll(() => {
    place = new Place(driver);
  });
  afterAll(async () => {
    await place[Symbol.asyncDispose]();
  });

  describe('in one container', () => {
    beforeAll(async () => {
      container = await SharedContainer.start(place);
    });
    const shared = () => container;
    terminalSuite(shared);
    stdinExecSuite(shared);
    bytesSuite(shared, amountsOf[driver]);
    exitsSuite(shared);
    exitOrderSuite(shared);
    killsSuite(shared);
    floodSuite(shared);
    proxyLossSuite(shared, amountsOf[driver]);
    afterAll(async () => {
      await container[Symbol.asyncDispose]();
      await place.expectNothingLeft();
    });
  });

  lifecycleSuite(() => place);
  terminalRunSuite(() => place);
  stdinRunSuite(() => place);
  vmLossSuite(() => place, driver);
  badInputSuite(() => place, driver);
}

/** The part of it that a transport could break: streams, exits, and what is seen when the proxy or the VM is killed. */
export function transportContract(driver: DriverName, transport: TransportName, amounts: Amounts): void {
  let place: Place;
  let container: SharedContainer;
  beforeAll(() => {
    place = new Place(driver, transport);
  });
  afterAll(async () => {
    await place[Symbol.asyncDispose]();
  });

  describe(`over ${transport}`, () => {
    beforeAll(async () => {
      container = await SharedContainer.start(place);
    });
    const shared = () => container;
    linkSuite(shared, transport);
    bytesSuite(shared, amounts);
    floodSuite(shared);
    proxyLossSuite(shared, amounts);
    afterAll(async () => {
      await container[Symbol.asyncDispose]();
      await place.expectNothingLeft();
    });
  });

  killedVmSuite(() => place, amounts.promptMs);
}
