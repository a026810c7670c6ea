// A backend in Node: it takes what players do over HTTP and tells everybody through the official pusher package. The only
// difference to a backend of hosted Pusher is where the package sends its events.
//
// usage: PORT=3000 PUSHER_HOST=127.0.0.1 PUSHER_PORT=6001 node server.js
//
//   POST /api/join  {"id": 42, "username": "ann"}                   LOBBY_42 gets PLAYER_JOIN with all players
//   POST /api/chat  {"id": 42, "username": "ann", "message": "hi"}  CHAT_42 gets message
import { createServer } from 'node:http';
import Pusher from 'pusher';

const pusher = new Pusher({
  appId: process.env.PUSHER_APP_ID ?? '42',
  key: process.env.PUSHER_KEY ?? 'development-key',
  secret: process.env.PUSHER_SECRET ?? 'development-secret',
  host: process.env.PUSHER_HOST ?? '127.0.0.1',
  port: process.env.PUSHER_PORT ?? '6001',
  useTLS: false,
});

const maxBody = 10_000;
const maxLobbies = 1_000;
const maxPlayers = 50;
const lobbies = new Map(); // id → names

class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function readBody(request) {
  let text = '';
  request.setEncoding('utf8');
  for await (const part of request) {
    text += part;
    if (text.length > maxBody) throw new Refusal(413, 'the body is too large');
  }
  let body;
  try {
    body = JSON.parse(text);
  } catch {
    throw new Refusal(400, 'expected JSON');
  }
  const { id, username } = body ?? {};
  if (!/^[0-9]{1,9}$/.test(String(id))) throw new Refusal(422, 'expected id: a number');
  if (typeof username !== 'string' || username === '' || username.length > 24) {
    throw new Refusal(422, 'expected username: 1 to 24 characters');
  }
  return body;
}

const routes = {
  '/api/join': async ({ id, username }) => {
    const players = lobbies.get(String(id)) ?? new Set();
    if (players.size >= maxPlayers && !players.has(username)) throw new Refusal(409, 'the lobby is full');
    if (lobbies.size >= maxLobbies && !lobbies.has(String(id))) throw new Refusal(409, 'there are too many lobbies');
    lobbies.set(String(id), players.add(username));
    await pusher.trigger(`LOBBY_${id}`, 'PLAYER_JOIN', [...players].map((name) => ({ username: name })));
  },

  '/api/chat': async ({ id, username, message }) => {
    if (typeof message !== 'string' || message === '' || message.length > 500) {
      throw new Refusal(422, 'expected message: 1 to 500 characters');
    }
    const now = new Date();
    const timestamp = `${now.getHours()}:${String(now.getMinutes()).padStart(2, '0')}`;
    await pusher.trigger(`CHAT_${id}`, 'message', { username, message, timestamp });
  },
};

const server = createServer(async (request, response) => {
  const reply = (status, body) => {
    response.writeHead(status, { 'Content-Type': 'application/json' });
    response.end(JSON.stringify(body));
  };
  try {
    const route = request.method === 'POST' && Object.hasOwn(routes, request.url) ? routes[request.url] : undefined;
    if (!route) throw new Refusal(404, 'there are POST /api/join and POST /api/chat');
    await route(await readBody(request));
    reply(200, {});
  } catch (error) {
    if (error instanceof Refusal) {
      reply(error.status, { error: error.message });
    } else {
      console.error(error);
      reply(502, { error: 'the event could not be sent' });
    }
  }
});

server.listen(Number(process.env.PORT ?? 3000), '127.0.0.1', () => {
  console.log(`backend on http://127.0.0.1:${server.address().port}`);
});
