// Channels that have to be entered: private, presence, encrypted; and what clients do there. Cache channels and counts.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import test from 'node:test';

import { appFlag, backend, collect, connect, pause, startAuthorizer, startServer, subscribe, until } from './support.js';

async function setUp(t, ...args) {
  const server = await startServer(t, '--app', appFlag, ...args);
  const pusher = backend(t, server.port);
  const as = await startAuthorizer(t, pusher);
  const enter = (user, options = {}) => connect(t, server.port, { ...as(user), ...options });
  return { server, pusher, enter };
}

test('who is authorised enters a private channel', async (t) => {
  const { pusher, enter } = await setUp(t);
  const got = collect(await subscribe(enter(), 'private-table'), 'card');
  await pusher.trigger('private-table', 'card', { card: 7 });
  await until('the event', () => got.length);
  assert.deepEqual(got, [{ card: 7 }]);
});

test('who is not authorised, or signs with another secret, does not', async (t) => {
  const { server, pusher, enter } = await setUp(t);
  const client = enter();
  const forbidden = collect(client.subscribe('private-forbidden'), 'pusher:subscription_error');
  await until('the backend says no', () => forbidden.length);
  assert.equal(forbidden[0].status, 403);

  const other = backend(t, server.port, { secret: 'wrong' });
  const forger = connect(t, server.port, await (await startAuthorizer(t, other))());
  const errors = collect(forger.subscribe('private-table'), 'pusher:subscription_error');
  const got = collect(forger.channel('private-table'), 'card');
  await until('the server says no', () => errors.length);
  assert.equal(errors[0].type, 'AuthError');
  assert.equal(errors[0].status, 401);
  await pusher.trigger('private-table', 'card', 'secret');
  await pause(200);
  assert.deepEqual(got, []);
  assert.equal(forger.connection.state, 'connected');
});

test('three clients see who is present, comes and goes', async (t) => {
  const { pusher, enter } = await setUp(t);
  const ann = await subscribe(enter({ id: 'ann', info: { name: 'Ann' } }), 'presence-lobby');
  assert.equal(ann.members.count, 1);
  assert.deepEqual(ann.members.me, { id: 'ann', info: { name: 'Ann' } });
  const added = collect(ann, 'pusher:member_added');
  const removed = collect(ann, 'pusher:member_removed');

  const bobClient = enter({ id: 'bob', info: { name: 'Bob' } });
  const bob = await subscribe(bobClient, 'presence-lobby');
  assert.equal(bob.members.count, 2);
  assert.deepEqual(bob.members.get('ann'), { id: 'ann', info: { name: 'Ann' } });
  // Bob's second window is no second Bob.
  const bobAgain = enter({ id: 'bob', info: { name: 'Bob' } });
  await subscribe(bobAgain, 'presence-lobby');
  const cy = await subscribe(enter({ id: 'cy', info: { name: 'Cy' } }), 'presence-lobby');
  assert.equal(cy.members.count, 3);
  await until('both newcomers', () => added.length === 2);
  assert.deepEqual(added, [{ id: 'bob', info: { name: 'Bob' } }, { id: 'cy', info: { name: 'Cy' } }]);

  const users = await (await pusher.get({ path: '/channels/presence-lobby/users' })).json();
  assert.deepEqual(users.users.map(({ id }) => id).sort(), ['ann', 'bob', 'cy']);
  const info = await (await pusher.get({ path: '/channels/presence-lobby', params: { info: 'user_count' } })).json();
  assert.equal(info.user_count, 3);

  bobAgain.disconnect();
  await pause(200);
  assert.deepEqual(removed, []);
  bobClient.unsubscribe('presence-lobby');
  await until('Bob is gone', () => removed.length);
  assert.deepEqual(removed, [{ id: 'bob', info: { name: 'Bob' } }]);
  assert.equal(ann.members.count, 2);
  await until('Cy knows too', () => cy.members.count === 2);
});

test('clients send events to each other', async (t) => {
  const { enter } = await setUp(t, '--client-events');
  const ann = await subscribe(enter({ id: 'ann' }), 'presence-lobby');
  const bob = await subscribe(enter({ id: 'bob' }), 'presence-lobby');
  const mine = collect(ann, 'client-wave');
  const theirs = [];
  bob.bind('client-wave', (data, metadata) => theirs.push([data, metadata]));
  ann.trigger('client-wave', { hand: 'left' });
  await until('the event', () => theirs.length);
  assert.deepEqual(theirs, [[{ hand: 'left' }, { user_id: 'ann' }]]);
  assert.deepEqual(mine, []);

  // More than ten a second are too many.
  const errors = collect(ann.pusher.connection, 'error');
  for (let i = 0; i < 20; ++i) ann.trigger('client-wave', { i });
  await until('it is refused', () => errors.length);
  assert.equal(errors[0].data.code, 4301);
  assert.equal(ann.pusher.connection.state, 'connected');
});

test('clients send no events where they may not', async (t) => {
  const { enter } = await setUp(t);
  const ann = await subscribe(enter(), 'private-table');
  const bob = await subscribe(enter(), 'private-table');
  const got = collect(bob, 'client-wave');
  const errors = collect(ann.pusher.connection, 'error');
  ann.trigger('client-wave', {});
  await until('it is refused', () => errors.length);
  assert.deepEqual(got, []);
});

test('a cache channel has its last event ready', async (t) => {
  const { pusher, enter } = await setUp(t);
  const first = enter().subscribe('cache-score');
  const misses = collect(first, 'pusher:cache_miss');
  await until('there is nothing', () => misses.length);
  await pusher.trigger('cache-score', 'score', { home: 1 });
  await pusher.trigger('cache-score', 'score', { home: 2 });

  for (const name of ['cache-score', 'private-cache-score']) {
    if (name !== 'cache-score') await pusher.trigger(name, 'score', { home: 2 });
    const late = enter().subscribe(name);
    const got = collect(late, 'score');
    const lateMisses = collect(late, 'pusher:cache_miss');
    await until('the last event', () => got.length);
    assert.deepEqual(got, [{ home: 2 }]);
    assert.deepEqual(lateMisses, []);
  }
  const info = await (await pusher.get({ path: '/channels/cache-score', params: { info: 'cache' } })).json();
  assert.equal(info.cache.data, '{"home":2}');
  assert.ok(info.cache.ttl > 0);
});

test('clients are told how many they are', async (t) => {
  const { enter } = await setUp(t, '--subscription-count');
  const first = enter().subscribe('news');
  const counts = collect(first, 'pusher:subscription_count');
  await until('one', () => counts.at(-1)?.subscription_count === 1);
  const second = enter();
  await subscribe(second, 'news');
  await until('two', () => counts.at(-1)?.subscription_count === 2);
  assert.equal(first.subscriptionCount, 2);
  second.disconnect();
  await until('one again', () => counts.at(-1)?.subscription_count === 1);
});

test('an encrypted channel is clear at both ends alone', async (t) => {
  const { server } = await setUp(t);
  const pusher = backend(t, server.port, { encryptionMasterKeyBase64: randomBytes(32).toString('base64') });
  const as = await startAuthorizer(t, pusher);
  const got = collect(await subscribe(connect(t, server.port, as()), 'private-encrypted-table'), 'card');
  const raw = [];
  const eavesdropper = connect(t, server.port, as());
  await subscribe(eavesdropper, 'private-encrypted-table');
  eavesdropper.connection.bind('message', (message) => raw.push(message));
  await pusher.trigger('private-encrypted-table', 'card', { card: 'ace' });
  await until('the event', () => got.length && raw.length);
  assert.deepEqual(got, [{ card: 'ace' }]);
  assert.deepEqual(Object.keys(raw[0].data).sort(), ['ciphertext', 'nonce']);
});

test('a batch goes to rooms of all kinds', async (t) => {
  const { pusher, enter } = await setUp(t);
  const client = enter({ id: 'ann' });
  const names = ['news', 'private-table', 'presence-lobby', 'cache-score'];
  const got = [];
  for (const name of names) (await subscribe(client, name)).bind('event', (data) => got.push([name, data]));
  const response = await pusher.triggerBatch(names.map((channel) => ({
    channel, name: 'event', data: 'x', info: 'subscription_count',
  })));
  const { batch } = await response.json();
  assert.deepEqual(batch.map((entry) => entry.subscription_count), [1, 1, 1, 1]);
  await until('all of them', () => got.length === 4);
  assert.deepEqual(got, names.map((name) => [name, 'x']));
});
