/**
 * Keeps addresses out of the agent's snapshot. V8 writes into it where a DataView's bytes are, and where malloc puts them
 * is not the same in every build: one of seventy differed, on a busy machine. So while modules load, a `DataView` is made
 * by the first call of one of its methods; in a guest, that is.
 *
 * To be imported before everything else. @bufbuild/protobuf has such a view, for 64-bit numbers.
 */
const RealView = globalThis.DataView;
type Accessor = (...args: unknown[]) => unknown;

class LateView {
  readonly #arguments: ConstructorParameters<typeof DataView>;
  #view: DataView | undefined;

  constructor(...args: ConstructorParameters<typeof DataView>) {
    this.#arguments = args;
  }

  static {
    const properties = Object.getOwnPropertyDescriptors(RealView.prototype) as PropertyDescriptorMap;
    for (const [name, { get, value }] of Object.entries(properties)) {
      if (name === 'constructor') continue;
      const accessor = (get ?? value) as Accessor;
      const late = function (this: LateView, ...args: unknown[]) {
        this.#view ??= new RealView(...this.#arguments);
        return Reflect.apply(accessor, this.#view, args);
      };
      Object.defineProperty(LateView.prototype, name, get ? { get: late } : { value: late });
    }
  }
}

globalThis.DataView = LateView as unknown as typeof DataView;

/** Once all modules are loaded. */
export function restoreDataView(): void {
  globalThis.DataView = RealView;
}
