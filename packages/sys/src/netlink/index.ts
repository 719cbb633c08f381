/** The kernel's network configuration over rtnetlink: `import { rtnetlink } from '@coracle/sys'`. */
export {
  addAddress,
  type InterfaceAddress,
  listAddresses,
  type NewAddress,
  removeAddress,
} from './addresses.ts';
export { changeLink, type Link, type LinkChange, listLinks } from './links.ts';
export { listNeighbours, type Neighbour, removeNeighbour, setNeighbour } from './neighbours.ts';
export {
  type Exception,
  makeException,
  type PacketWord,
  redirectIngress,
  stopRedirect,
} from './redirect.ts';
export { listRoutes, type Route, RouteProtocol, RouteType, removeRoute, setRoute } from './routes.ts';
export { Group, NetlinkSocket } from './socket.ts';
