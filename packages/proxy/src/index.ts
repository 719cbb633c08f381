export { type ProxyLog, type ProxyOptions, ProxyServer } from './proxy-server.ts';
