export { CliError } from './cli/errors.ts';
export { checkContainerId } from './container/ids.ts';
export { type ContainerState, StateStore } from './container/state.ts';
export { type Status, statusOf } from './container/status.ts';
export { readSettings, type Settings } from './host/settings.ts';
export { sandboxIdOf } from './sandbox/sandbox-id.ts';
export { type Bundle, readBundle } from './spec/bundle.ts';
