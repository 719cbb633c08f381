export { AGENT_VERSION } from './handlers.ts';
export { PORT_NAME } from './link-port.ts';
