// A name server that is no container, for those that Docker's own asks: port 53, UDP and TCP. It knows one name.
import { createSocket } from 'node:dgram';
import { createServer } from 'node:net';

const NAME = Buffer.from('\x07outside\x07example\0', 'latin1');
const ADDRESS = [192, 0, 2, 7];
const TYPE_A = 1;

/** RFC 1035, 4.1: the question again, and for the name's address a record that points back to the name. */
function answer(query) {
  const question = query.subarray(12, query.indexOf(0, 12) + 5);
  const known = question.subarray(0, -4).equals(NAME);
  const found = known && question.readUInt16BE(question.length - 4) === TYPE_A;
  const header = Buffer.alloc(12);
  query.copy(header, 0, 0, 2);
  header.writeUInt16BE(known ? 0x8180 : 0x8183, 2);
  header.writeUInt16BE(1, 4);
  header.writeUInt16BE(found ? 1 : 0, 6);
  const record = [0xc0, 12, 0, TYPE_A, 0, 1, 0, 0, 0, 60, 0, 4, ...ADDRESS];
  return Buffer.concat([header, question, Buffer.from(found ? record : [])]);
}

const datagrams = createSocket('udp4');
datagrams.on('message', (query, { port, address }) => datagrams.send(answer(query), port, address));
datagrams.bind(53);
createServer((socket) => {
  socket.on('error', () => socket.destroy());
  socket.on('data', (bytes) => {
    const message = answer(bytes.subarray(2));
    socket.write(Buffer.concat([Buffer.of(message.length >> 8, message.length & 255), message]));
  });
}).listen(53);
