/** Reads a kernel's `.config`. An option that is not set is the same as one that is not named. */
export function parseKernelConfig(text: string): Map<string, string> {
  return new Map(
    [...text.matchAll(/^CONFIG_(\w+)=(.*)$/gm)].flatMap(([, name = '', value = '']) =>
      value === 'n' ? [] : [[name, value] as const],
    ),
  );
}
