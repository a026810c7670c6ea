// What channels keep for pages that come later, with pusher-js as it is, and with the helper that resumes.
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import test from 'node:test';

import { resume } from '../../examples/web/resume.js';
import { app, backend, collect, connect, startServer, subscribe, until } from './support.js';

async function setUp(t, ...args) {
  const directory = await mkdtemp(path.join(os.tmpdir(), 'fanfare-kept-'));
  t.after(() => rm(directory, { recursive: true }));
  const config = path.join(directory, 'config.json');
  const channels = [
    { match: 'LOBBY_*', retain: true },
    { match: 'CHAT_*', history: { count: 5 } },
    { match: 'presence-*', history: true },
  ];
  await writeFile(config, JSON.stringify({ listen: ['127.0.0.1:0'], apps: [{ ...app, channels }] }));
  const server = await startServer(t, '--config', config, ...args);
  return { server, pusher: backend(t, server.port), come: () => connect(t, server.port) };
}

/** Subscribes and binds at once, as pages do. */
const join = (client, name, event) => collect(client.subscribe(name), event);

test('who comes late finds the state, without waiting and without asking', async (t) => {
  const { pusher, come } = await setUp(t);
  await pusher.trigger('LOBBY_42', 'PLAYERS', ['ann']);
  await pusher.trigger('LOBBY_42', 'PLAYERS', ['ann', 'bob']);
  const got = join(come(), 'LOBBY_42', 'PLAYERS');
  await until('the players', () => got.length);
  assert.deepEqual(got, [['ann', 'bob']]);
  await pusher.trigger('LOBBY_42', 'PLAYERS', ['bob']);
  await until('the next', () => got.length === 2);
});

test('a trigger may say that its event is not to be kept, or that nothing is', async (t) => {
  const { pusher, come } = await setUp(t);
  await pusher.trigger('LOBBY_42', 'A', 1);
  await pusher.trigger('LOBBY_42', 'A', 2, { retain: false });
  await pusher.trigger('LOBBY_42', 'B', 1);
  await pusher.trigger('LOBBY_42', 'B', 2, { retain: 'clear' });
  const client = come();
  const channel = client.subscribe('LOBBY_42');
  const a = collect(channel, 'A');
  const b = collect(channel, 'B');
  await until('A', () => a.length);
  assert.deepEqual([a, b], [[1], []]);
});

test('an event waits for who it is for', async (t) => {
  const { pusher, come } = await setUp(t);
  const held = async (hold) => (await (await pusher.trigger('ROOM_1', 'BEGIN', 1, { hold })).json()).held;
  assert.equal(await held({ subscribers: 2, seconds: 30 }), true);
  await pusher.trigger('ROOM_1', 'CHAT', 'nobody hears that');
  const ann = join(come(), 'ROOM_1', 'BEGIN');
  const client = come();
  const room = client.subscribe('ROOM_1');
  const bob = collect(room, 'BEGIN');
  await until('both have it', () => ann.length === 1 && bob.length === 1);
  assert.equal(await held({ subscribers: 2 }), false);
  await until('both have it again', () => ann.length === 2 && bob.length === 2);
  await assert.rejects(pusher.trigger(['ROOM_1', 'ROOM_2'], 'BEGIN', 1, { hold: {} }), { status: 400 });
});

for (const threads of [1, 2]) {
  test(`a history comes in order before live events, with ${threads} threads`, async (t) => {
    const { pusher, come } = await setUp(t, '--threads', String(threads));
    for (let i = 0; i < 8; ++i) await pusher.trigger('CHAT_1', 'message', i);
    const all = Array.from({ length: 6 }, () => join(come(), 'CHAT_1', 'message'));
    for (let i = 8; i < 40; ++i) await pusher.trigger('CHAT_1', 'message', i);
    await until('the last', () => all.every((got) => got.at(-1) === 39));
    for (const got of all) {
      assert.ok(got.length >= 5, `${got}`);
      assert.deepEqual(got, Array.from({ length: got.length }, (_, i) => 40 - got.length + i));
    }
  });
}

test('who was away is sent what it missed, and nothing twice', async (t) => {
  const { pusher, come } = await setUp(t);
  const client = come();
  const lost = [];
  resume(client, (channel) => lost.push(channel));
  const got = join(client, 'CHAT_1', 'message');
  await subscribe(client, 'plain');
  for (let i = 0; i < 3; ++i) await pusher.trigger('CHAT_1', 'message', i);
  await until('the first three', () => got.length === 3);
  for (let round = 0; round < 3; ++round) {
    client.disconnect();
    for (let i = 0; i < 2; ++i) await pusher.trigger('CHAT_1', 'message', got.length + i);
    client.connect();
    const expected = got.length + 2;
    await until('what was missed', () => got.length === expected);
  }
  assert.deepEqual(got, [...got.keys()]);
  assert.deepEqual(lost, []);
});

test('who was away for too long is told so, and sent what there is', async (t) => {
  const { pusher, come } = await setUp(t);
  const client = come();
  const lost = [];
  resume(client, (channel) => lost.push(channel));
  const got = join(client, 'CHAT_1', 'message');
  await pusher.trigger('CHAT_1', 'message', 0);
  await until('the first', () => got.length);
  client.disconnect();
  for (let i = 1; i < 9; ++i) await pusher.trigger('CHAT_1', 'message', i);
  client.connect();
  await until('the rest', () => got.at(-1) === 8);
  assert.deepEqual(got, [0, 4, 5, 6, 7, 8]);
  assert.deepEqual(lost, ['CHAT_1']);
});

test('backends read the history, page by page', async (t) => {
  const { pusher } = await setUp(t);
  for (let i = 0; i < 5; ++i) await pusher.trigger('CHAT_1', 'message', i);
  const get = async (params) => (await pusher.get({ path: '/channels/CHAT_1/history', params })).json();
  const first = await get({ limit: 2 });
  assert.deepEqual(first.events.map(({ event, data }) => [event, data]), [['message', '0'], ['message', '1']]);
  assert.ok(first.more && first.complete);
  const second = await get({ limit: 10, from: first.next });
  assert.deepEqual(second.events.map(({ data }) => data), ['2', '3', '4']);
  assert.equal(second.more, false);
  const newest = await get({ limit: 2, order: 'newest' });
  assert.deepEqual(newest.events.map(({ data }) => data), ['4', '3']);
  await assert.rejects(pusher.get({ path: '/channels/plain/history' }));
});
