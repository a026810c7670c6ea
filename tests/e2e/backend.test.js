// The backend example: what a player posts there arrives in every browser.
import assert from 'node:assert/strict';
import path from 'node:path';
import test from 'node:test';

import { app, appFlag, collect, connect, Program, root, startServer, subscribe, until } from './support.js';

async function startBackend(t, pusherPort) {
  const backend = new Program(t, process.execPath, [path.join(root, 'examples/backend/server.js')], {
    PORT: '0', PUSHER_PORT: String(pusherPort), PUSHER_APP_ID: app.id, PUSHER_KEY: app.key, PUSHER_SECRET: app.secret,
  });
  const [, url] = await backend.line(/^backend on (http:\S+)$/m);
  return (route, body) => fetch(url + route, { method: 'POST', body: JSON.stringify(body) });
}

test('the chat and the lobby of the original program work', async (t) => {
  const server = await startServer(t, '--app', appFlag);
  const post = await startBackend(t, server.port);
  const client = connect(t, server.port);
  const messages = collect(await subscribe(client, 'CHAT_42'), 'message');
  const joins = collect(await subscribe(client, 'LOBBY_42'), 'PLAYER_JOIN');

  assert.equal((await post('/api/join', { id: 42, username: 'ann' })).status, 200);
  assert.equal((await post('/api/join', { id: 42, username: 'bob' })).status, 200);
  assert.equal((await post('/api/chat', { id: 42, username: 'ann', message: 'hi' })).status, 200);
  await until('the events', () => joins.length === 2 && messages.length === 1);
  assert.deepEqual(joins, [[{ username: 'ann' }], [{ username: 'ann' }, { username: 'bob' }]]);
  assert.equal(messages[0].username, 'ann');
  assert.equal(messages[0].message, 'hi');
  assert.match(messages[0].timestamp, /^\d{1,2}:\d{2}$/);
});

test('it refuses what it does not understand', async (t) => {
  const post = await startBackend(t, 1);
  assert.equal((await post('/api/nothing', {})).status, 404);
  assert.equal((await post('/api/chat', { id: 'x y', username: 'ann', message: 'hi' })).status, 422);
  assert.equal((await post('/api/chat', { id: 42, username: 'ann' })).status, 422);
  assert.equal((await post('/api/chat', { id: 42, username: 'ann', message: 'nobody listens' })).status, 502);
});
