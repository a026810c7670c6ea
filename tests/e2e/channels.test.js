// What a backend sends through `pusher` arrives in `pusher-js`.
import assert from 'node:assert/strict';
import test from 'node:test';

import { appFlag, backend, collect, connect, startServer, subscribe, until } from './support.js';

async function setUp(t, ...args) {
  const server = await startServer(t, '--app', appFlag, ...args);
  return { server, pusher: backend(t, server.port), client: connect(t, server.port) };
}

test('an event reaches a subscriber', async (t) => {
  const { pusher, client } = await setUp(t);
  const chat = await subscribe(client, 'CHAT_42');
  const got = collect(chat, 'message');
  const data = { username: 'ann', message: '"quoted" \\ é 🎺 \u2028', timestamp: '9:27' };
  assert.equal((await pusher.trigger('CHAT_42', 'message', data)).status, 200);
  await until('the event', () => got.length);
  assert.deepEqual(got, [data]);
});

test('data that is no JSON arrives as the text that it is', async (t) => {
  const { pusher, client } = await setUp(t);
  const got = collect(await subscribe(client, 'CHAT_42'), 'message');
  for (const data of ['plain text', '', '5', '[1, 2]']) await pusher.trigger('CHAT_42', 'message', data);
  await until('the events', () => got.length === 4);
  assert.deepEqual(got, ['plain text', '', 5, [1, 2]]);
});

for (const threads of [1, 2]) {
  test(`1000 events reach 20 clients in order, with ${threads} threads`, { timeout: 120_000 }, async (t) => {
    const { server, pusher } = await setUp(t, '--threads', String(threads));
    const clients = Array.from({ length: 20 }, () => connect(t, server.port));
    const channels = await Promise.all(clients.map((client) => subscribe(client, 'LOBBY_42')));
    const got = channels.map((channel) => collect(channel, 'tick'));
    for (let i = 0; i < 1000; ++i) await pusher.trigger('LOBBY_42', 'tick', { i });
    await until('20 times 1000 events', () => got.every((events) => events.length >= 1000), 60_000);
    const expected = Array.from({ length: 1000 }, (_, i) => i);
    for (const events of got) assert.deepEqual(events.map(({ i }) => i), expected);
  });
}

test('an event that arrives behind the confirmation is never missed', async (t) => {
  const { server, pusher } = await setUp(t);
  for (let i = 0; i < 20; ++i) {
    const client = connect(t, server.port);
    const channel = client.subscribe('LOBBY_42');
    const got = collect(channel, 'PLAYER_JOIN');
    await new Promise((resolve) => channel.bind('pusher:subscription_succeeded', resolve));
    await pusher.trigger('LOBBY_42', 'PLAYER_JOIN', [{ username: `player ${i}` }]);
    await until('the event', () => got.length);
    client.disconnect();
  }
});

test('the client that a socket_id names is left out', async (t) => {
  const { server, pusher, client } = await setUp(t);
  const other = connect(t, server.port);
  const mine = collect(await subscribe(client, 'CHAT_42'), 'message');
  const theirs = collect(await subscribe(other, 'CHAT_42'), 'message');
  assert.match(client.connection.socket_id, /^\d+\.\d+$/);
  await pusher.trigger('CHAT_42', 'message', 'for others', { socket_id: client.connection.socket_id });
  await pusher.trigger('CHAT_42', 'message', 'for all');
  await until('both events', () => mine.length === 1 && theirs.length === 2);
  assert.deepEqual(mine, ['for all']);
  assert.deepEqual(theirs, ['for others', 'for all']);
});

test('one trigger reaches several channels', async (t) => {
  const { pusher, client } = await setUp(t);
  const names = ['LOBBY_1', 'LOBBY_2', 'LOBBY_3'];
  const got = [];
  for (const name of names) collect(await subscribe(client, name), 'news').push = (data) => got.push([name, data]);
  await pusher.trigger(['LOBBY_1', 'LOBBY_3'], 'news', 'hi');
  await pusher.trigger('LOBBY_2', 'news', 'end');
  await until('the events', () => got.length === 3);
  assert.deepEqual(got.sort(), [['LOBBY_1', 'hi'], ['LOBBY_2', 'end'], ['LOBBY_3', 'hi']]);
});

test('a batch holds events of several channels', async (t) => {
  const { pusher, client } = await setUp(t);
  const chat = collect(await subscribe(client, 'CHAT_42'), 'message');
  const lobby = collect(await subscribe(client, 'LOBBY_42'), 'PLAYER_JOIN');
  const response = await pusher.triggerBatch([
    { channel: 'CHAT_42', name: 'message', data: { n: 1 } },
    { channel: 'LOBBY_42', name: 'PLAYER_JOIN', data: [] },
    { channel: 'CHAT_42', name: 'message', data: { n: 2 } },
  ]);
  assert.equal(response.status, 200);
  await until('the events', () => chat.length === 2 && lobby.length === 1);
  assert.deepEqual(chat, [{ n: 1 }, { n: 2 }]);
});

test('a backend can ask for the channels', async (t) => {
  const { server, pusher, client } = await setUp(t);
  const other = connect(t, server.port);
  await subscribe(client, 'LOBBY_1');
  await subscribe(client, 'CHAT_1');
  await subscribe(other, 'CHAT_1');
  const ask = async (path, params = {}) => (await pusher.get({ path, params })).json();
  assert.deepEqual(Object.keys((await ask('/channels')).channels).sort(), ['CHAT_1', 'LOBBY_1']);
  assert.deepEqual(Object.keys((await ask('/channels', { filter_by_prefix: 'LOB' })).channels), ['LOBBY_1']);
  const info = await ask('/channels/CHAT_1', { info: 'subscription_count' });
  assert.equal(info.occupied, true);
  assert.equal(info.subscription_count, 2);
  assert.equal((await ask('/channels/CHAT_2')).occupied, false);
});

test('who unsubscribes gets no more', async (t) => {
  const { pusher, client } = await setUp(t);
  const chat = collect(await subscribe(client, 'CHAT_42'), 'message');
  const lobby = collect(await subscribe(client, 'LOBBY_42'), 'PLAYER_JOIN');
  client.unsubscribe('CHAT_42');
  await until('the server knows', async () =>
    !(await (await pusher.get({ path: '/channels/CHAT_42', params: {} })).json()).occupied);
  await pusher.trigger('CHAT_42', 'message', 'too late');
  await pusher.trigger('LOBBY_42', 'PLAYER_JOIN', []);
  await until('the later event', () => lobby.length);
  assert.deepEqual(chat, []);
});

test('applications are strangers', async (t) => {
  const { server, pusher } = await setUp(t, '--app', 'other:other-key:other-secret');
  const other = backend(t, server.port, { appId: 'other', key: 'other-key', secret: 'other-secret' });
  const got = collect(await subscribe(connect(t, server.port, { key: 'other-key' }), 'CHAT_42'), 'message');
  await pusher.trigger('CHAT_42', 'message', 'not for you');
  await other.trigger('CHAT_42', 'message', 'for you');
  await until('the event', () => got.length);
  assert.deepEqual(got, ['for you']);
});
