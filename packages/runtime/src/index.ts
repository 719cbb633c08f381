export { type Bundle, readBundle } from './bundle.ts';
export { CliError } from './errors.ts';
export { checkContainerId } from './ids.ts';
export { sandboxIdOf } from './sandbox-id.ts';
export { readSettings, type Settings } from './settings.ts';
export { type ContainerState, StateStore } from './state.ts';
export { type Status, statusOf } from './status.ts';
