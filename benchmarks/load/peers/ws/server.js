// The smallest server of the Pusher protocol that one would write with Node and ws: a set of sockets for each channel,
// and a loop over it. No signatures, no limits, no presence.
//
// usage: node server.js PORT
import { createServer } from 'node:http';
import { WebSocketServer } from 'ws';

const channels = new Map(); // from name to the set of its sockets
let connections = 0;

function publish(name, event, data, sender) {
  const sockets = channels.get(name);
  if (!sockets) return;
  const frame = JSON.stringify({ event, channel: name, data });
  for (const socket of sockets) {
    if (socket !== sender) socket.send(frame);
  }
}

function leave(socket, name) {
  const sockets = channels.get(name);
  if (sockets?.delete(socket) && sockets.size === 0) channels.delete(name);
}

function receive(socket, joined, message) {
  const { event, channel, data } = JSON.parse(message);
  if (event === 'pusher:ping') {
    socket.send('{"event":"pusher:pong","data":"{}"}');
  } else if (event === 'pusher:subscribe') {
    if (!channels.has(data.channel)) channels.set(data.channel, new Set());
    channels.get(data.channel).add(socket);
    joined.add(data.channel);
    socket.send(
      JSON.stringify({ event: 'pusher_internal:subscription_succeeded', channel: data.channel, data: '{}' }),
    );
  } else if (event === 'pusher:unsubscribe') {
    leave(socket, data.channel);
    joined.delete(data.channel);
  } else if (event.startsWith('client-') && joined.has(channel)) {
    publish(channel, event, data, socket);
  }
}

function answer(response, status, body) {
  response.writeHead(status, { 'Content-Type': 'application/json', 'Content-Length': body.length });
  response.end(body);
}

const server = createServer((request, response) => {
  const chunks = [];
  request.on('data', (chunk) => chunks.push(chunk));
  request.on('end', () => {
    const [, name] = /^\/apps\/[^/]+\/(events|batch_events)(?:\?|$)/.exec(request.url) ?? [];
    if (request.method !== 'POST' || !name) return answer(response, 404, '{}');
    let events;
    try {
      const body = JSON.parse(Buffer.concat(chunks).toString());
      events = name === 'events' ? [body] : body.batch;
    } catch {
      return answer(response, 400, '{}');
    }
    for (const event of events) {
      for (const channel of event.channels ?? [event.channel]) publish(channel, event.name, event.data);
    }
    answer(response, 200, '{}');
  });
});
server.keepAliveTimeout = 120_000; // ms; the default closes an API connection after 5 s

new WebSocketServer({ server, perMessageDeflate: false }).on('connection', (socket) => {
  const joined = new Set();
  socket.on('message', (message) => {
    try {
      receive(socket, joined, message);
    } catch {
      socket.close(4000);
    }
  });
  socket.on('error', () => socket.terminate());
  socket.on('close', () => {
    for (const name of joined) leave(socket, name);
  });
  const data = JSON.stringify({ socket_id: `1.${++connections}`, activity_timeout: 120 });
  socket.send(JSON.stringify({ event: 'pusher:connection_established', data }));
});

server.listen({ host: '127.0.0.1', port: Number(process.argv[2]), backlog: 1024 });
process.on('SIGTERM', () => process.exit(0));
