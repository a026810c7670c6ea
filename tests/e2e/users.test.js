// Users: sign-in, events for one of them, who is online, and putting somebody out.
import assert from 'node:assert/strict';
import test from 'node:test';

import { appFlag, backend, collect, connect, inState, pause, startAuthorizer, startServer, subscribe, until } from './support.js';

async function setUp(t, ...args) {
  const server = await startServer(t, '--app', appFlag, '--user-authentication', ...args);
  const pusher = backend(t, server.port);
  const as = await startAuthorizer(t, pusher);
  const signIn = async (user) => {
    const client = connect(t, server.port, as(user));
    client.signin();
    await client.user.signinDonePromise;
    await until('the sign-in', () => client.user.user_data);
    // Pusher's client subscribes to the user's own channel by itself.
    await until('the channel of the user', () => client.user.serverToUserChannel?.subscribed);
    return client;
  };
  return { server, pusher, as, signIn };
}

test('an event for a user reaches all of that user, and nobody else', async (t) => {
  const { pusher, signIn } = await setUp(t);
  const ann = [await signIn({ id: 'ann', info: { name: 'Ann' } }), await signIn({ id: 'ann' })];
  const bob = await signIn({ id: 'bob' });
  assert.equal(ann[0].user.user_data.id, 'ann');
  const got = ann.map((client) => collect(client.user, 'turn'));
  const others = collect(bob.user, 'turn');
  await pusher.sendToUser('ann', 'turn', { yours: true });
  await until('both have it', () => got.every((events) => events.length));
  assert.deepEqual(got, [[{ yours: true }], [{ yours: true }]]);
  await pause(100);
  assert.deepEqual(others, []);
});

test('who watches is told who comes and goes', async (t) => {
  const { signIn } = await setUp(t, '--watchlist');
  const first = await signIn({ id: 'bob' });
  const ann = await signIn({ id: 'ann', watchlist: ['bob', 'cy'] });
  const online = collect(ann.user.watchlist, 'online');
  const offline = collect(ann.user.watchlist, 'offline');
  const cy = await signIn({ id: 'cy' });
  await until('Cy came', () => online.some(({ user_ids: ids }) => ids.includes('cy')));
  cy.disconnect();
  await until('Cy went', () => offline.some(({ user_ids: ids }) => ids.includes('cy')));
  first.disconnect();
  await until('Bob went', () => offline.some(({ user_ids: ids }) => ids.includes('bob')));
});

test('who signs in is told who is there already', async (t) => {
  const { server, as, signIn } = await setUp(t, '--watchlist');
  await signIn({ id: 'bob' });
  const ann = connect(t, server.port, as({ id: 'ann', watchlist: ['bob', 'cy'] }));
  const online = collect(ann.user.watchlist, 'online');
  const offline = collect(ann.user.watchlist, 'offline');
  ann.signin();
  await until('both lists', () => online.length && offline.length);
  assert.deepEqual(online[0].user_ids, ['bob']);
  assert.deepEqual(offline[0].user_ids, ['cy']);
});

test('a user can be put out', async (t) => {
  const { pusher, signIn } = await setUp(t);
  const ann = [await signIn({ id: 'ann' }), await signIn({ id: 'ann' })];
  const bob = await signIn({ id: 'bob' });
  assert.equal((await pusher.terminateUserConnections('ann')).status, 200);
  for (const client of ann) await inState(client, 'disconnected');
  assert.equal(bob.connection.state, 'connected');
});

test('nobody signs in where the application has no users', async (t) => {
  const server = await startServer(t, '--app', appFlag);
  const as = await startAuthorizer(t, backend(t, server.port));
  const client = connect(t, server.port, as({ id: 'ann' }));
  const errors = collect(client.connection, 'error');
  client.signin();
  await until('it is refused', () => errors.length);
  assert.equal(client.user.user_data, null);
  assert.equal(client.connection.state, 'connected');
});

test('who neither signs in nor enters a room is put out in time', async (t) => {
  const { server, as, signIn } = await setUp(t, '--authorized-timeout', '2');
  const stranger = connect(t, server.port);
  const errors = collect(stranger.connection, 'error');
  await subscribe(stranger, 'news');
  const ann = await signIn({ id: 'ann' });
  const bob = connect(t, server.port, as());
  await subscribe(bob, 'private-table');
  await inState(stranger, 'disconnected');
  assert.equal(errors[0]?.data?.code ?? errors[0]?.error?.data?.code, 4009);
  await pause(1000);
  assert.equal(ann.connection.state, 'connected');
  assert.equal(bob.connection.state, 'connected');
});
