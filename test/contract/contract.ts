/** Everything that "Must hold" of a container, whatever carries its streams: one body, run for each driver. */
import { afterAll, beforeAll, describe } from 'vitest';
import { bytesSuite } from './bytes.ts';
import { exitsSuite } from './exits.ts';
import { floodSuite } from './flood.ts';
import { proxyLossSuite, vmLossSuite } from './loss.ts';
import { type DriverName, Place, SharedContainer } from './place.ts';

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
    bytesSuite(shared);
    exitsSuite(shared);
    floodSuite(shared);
    proxyLossSuite(shared);
    afterAll(async () => {
      await container[Symbol.asyncDispose]();
      await place.expectNothingLeft();
    });
  });

  vmLossSuite(() => place);
}
