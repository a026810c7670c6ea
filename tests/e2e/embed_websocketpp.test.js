// A program that has a websocketpp endpoint, with fanfare on its connections: examples/embed/websocketpp.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import path from 'node:path';
import test from 'node:test';

import faye from 'faye-websocket';

import { Program, backend, collect, connect, inState, pause, startAuthorizer, subscribe, until } from './support.js';

const file = path.join(path.dirname(process.env.FANFARE_SERVER), 'embed/websocketpp_endpoint');
const app = { id: '42', key: 'a-key', secret: 'a-secret' };

async function start(t, port = 0) {
  assert.ok(existsSync(file), `${file} is not built`);
  const host = new Program(t, file, [String(port)]);
  host.port = Number((await host.line(/^listening on http:\/\/127\.0\.0\.1:(\d+)$/m))[1]);
  return host;
}
const clientOf = (t, host, options = {}) => connect(t, host.port, { key: app.key, ...options });
const backendOf = (t, host) => backend(t, host.port, { appId: app.id, key: app.key, secret: app.secret });

/** A client of the program's own; what it says goes to the lobby. */
async function shouter(t, host) {
  const socket = new faye.Client(`ws://127.0.0.1:${host.port}/shout`);
  t.after(() => socket.close());
  await new Promise((resolve, reject) => {
    socket.on('open', resolve);
    socket.on('error', reject);
  });
  return socket;
}

test('a page gets what the program triggers, and what a backend does', async (t) => {
  const host = await start(t);
  const lobby = await subscribe(clientOf(t, host), 'LOBBY_42');
  const said = collect(lobby, 'said');
  const joined = collect(lobby, 'PLAYER_JOIN');
  (await shouter(t, host)).send('{"username":"ann"}');
  await until('what the program says', () => said.length);
  assert.deepEqual(said, [{ username: 'ann' }]);
  const pusher = backendOf(t, host);
  for (const username of ['bob', 'cy']) await pusher.trigger('LOBBY_42', 'PLAYER_JOIN', { username });
  await until('what the backend says', () => joined.length === 2);
  assert.deepEqual(joined, [{ username: 'bob' }, { username: 'cy' }]);
  const wrong = backend(t, host.port, { appId: app.id, key: app.key, secret: 'wrong' });
  await assert.rejects(wrong.trigger('LOBBY_42', 'PLAYER_JOIN', {}), { status: 401 });
  assert.equal((await fetch(`http://127.0.0.1:${host.port}/other`)).status, 404);
});

test('private and presence channels, and events of clients', async (t) => {
  const host = await start(t);
  const pusher = backendOf(t, host);
  const as = await startAuthorizer(t, pusher);
  const ann = clientOf(t, host, as({ id: 'ann', info: { name: 'Ann' } }));
  const got = collect(await subscribe(ann, 'private-table'), 'card');
  await pusher.trigger('private-table', 'card', { card: 7 });
  await until('the event', () => got.length);

  const lobby = await subscribe(ann, 'presence-lobby');
  const added = collect(lobby, 'pusher:member_added');
  const removed = collect(lobby, 'pusher:member_removed');
  const bob = clientOf(t, host, as({ id: 'bob', info: { name: 'Bob' } }));
  const bobsLobby = await subscribe(bob, 'presence-lobby');
  await until('bob', () => added.length);
  assert.deepEqual(added, [{ id: 'bob', info: { name: 'Bob' } }]);
  const waved = [];
  lobby.bind('client-wave', (data, metadata) => waved.push([data, metadata]));
  bobsLobby.trigger('client-wave', { hand: 'left' });
  await until('the event', () => waved.length);
  assert.deepEqual(waved, [[{ hand: 'left' }, { user_id: 'bob' }]]);
  bob.disconnect();
  await until('bob is gone', () => removed.length);
  assert.equal(lobby.members.count, 1);
});

test('who is refused is told why', async (t) => {
  const host = await start(t);
  const client = connect(t, host.port, { key: 'another' });
  const errors = collect(client.connection, 'error');
  await until('the error', () => errors.length);
  assert.equal(errors[0]?.data?.code ?? errors[0]?.error?.data?.code, 4001);
});

test('ten thousand events come in order, to several clients', { timeout: 120_000 }, async (t) => {
  const host = await start(t);
  const pages = [];
  for (let i = 0; i < 3; ++i) pages.push(collect(await subscribe(clientOf(t, host), 'LOBBY_42'), 'said'));
  const socket = await shouter(t, host);
  const count = 10_000;
  for (let i = 0; i < count; ++i) socket.send(String(i));
  for (const page of pages) {
    await until('all of them', () => page.length >= count, 60_000);
    assert.deepEqual(page, Array.from({ length: count }, (_, i) => i));
  }
});

test('a client whose connection breaks comes back', { timeout: 60_000 }, async (t) => {
  const host = await start(t);
  const client = clientOf(t, host);
  const lobby = await subscribe(client, 'LOBBY_42');
  const confirmed = collect(lobby, 'pusher:subscription_succeeded');
  const said = collect(lobby, 'said');
  client.connection.connection.transport.socket._stream.destroy();
  await until('it is subscribed again', () => confirmed.length, 45_000);
  (await shouter(t, host)).send('1');
  await until('the event', () => said.length);
});

test('a silent client is asked, answers, and stays', { timeout: 60_000 }, async (t) => {
  const host = await start(t);
  const client = clientOf(t, host, { activityTimeout: 1000, pongTimeout: 5000 });
  await inState(client, 'connected');
  await pause(4000);
  assert.equal(client.connection.state, 'connected');
});

test('SIGTERM ends it in time, and clients come back to the next', { timeout: 60_000 }, async (t) => {
  const first = await start(t);
  const client = clientOf(t, first);
  const lobby = await subscribe(client, 'LOBBY_42');
  const confirmed = collect(lobby, 'pusher:subscription_succeeded');
  const begin = Date.now();
  assert.deepEqual(await first.kill('SIGTERM'), { code: 0, signal: null });
  assert.ok(Date.now() - begin < 6000, `it took ${Date.now() - begin} ms`);
  assert.equal(first.stderr, '');
  const second = await start(t, first.port);
  await until('it is subscribed again', () => confirmed.length, 45_000);
  const said = collect(lobby, 'said');
  (await shouter(t, second)).send('1');
  await until('the event', () => said.length);
});
