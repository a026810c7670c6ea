// Clients that get no WebSocket through: pusher-js's transports over plain HTTP.
import assert from 'node:assert/strict';
import test from 'node:test';

import { appFlag, backend, collect, connect, inState, pause, startAuthorizer, startServer, subscribe, until } from './support.js';

async function setUp(t, transport, ...args) {
  const server = await startServer(t, '--app', appFlag, ...args);
  const pusher = backend(t, server.port);
  const as = await startAuthorizer(t, pusher);
  const open = (user, options = {}) => connect(t, server.port, {
    httpHost: '127.0.0.1', httpPort: server.port, enabledTransports: [transport], ...as(user), ...options,
  });
  return { server, pusher, open };
}

for (const transport of ['xhr_streaming', 'xhr_polling']) {
  test(`${transport}: a client has all that a WebSocket has`, async (t) => {
    const { server, pusher, open } = await setUp(t, transport, '--client-events');
    const ann = open({ id: 'ann' });
    const got = collect(await subscribe(ann, 'CHAT_42'), 'message');
    const lobby = await subscribe(ann, 'presence-lobby');
    const added = collect(lobby, 'pusher:member_added');
    const bob = connect(t, server.port, (await startAuthorizer(t, pusher))({ id: 'bob' }));
    const waves = collect(await subscribe(bob, 'presence-lobby'), 'client-wave');
    await until('Bob', () => added.length);
    lobby.trigger('client-wave', { hand: 'left' });
    await until('the wave', () => waves.length);
    for (let i = 0; i < 100; ++i) await pusher.trigger('CHAT_42', 'message', { i });
    await until('100 events', () => got.length >= 100);
    assert.deepEqual(got.map(({ i }) => i), Array.from({ length: 100 }, (_, i) => i));
    ann.disconnect();
    const presence = async () => (await (await pusher.get({ path: '/channels/presence-lobby/users' })).json()).users;
    await until('Ann is gone', async () => (await presence()).length === 1);
  });

  test(`${transport}: large events come whole, whichever thread a request comes to`, async (t) => {
    const { pusher, open } = await setUp(t, transport, '--threads', '2');
    const channels = await Promise.all([open(), open(), open()].map((client) => subscribe(client, 'CHAT_42')));
    const got = channels.map((channel) => collect(channel, 'message'));
    const data = 'é🎺'.repeat(1500); // in all more than 256 KiB, after which a streaming client begins anew
    for (let i = 0; i < 60; ++i) await pusher.trigger('CHAT_42', 'message', data + i);
    await until('60 events', () => got.every((events) => events.length >= 60));
    for (const events of got) assert.deepEqual(events, Array.from({ length: 60 }, (_, i) => data + i));
  });

  test(`${transport}: an idle client stays, by its own pings`, { timeout: 60_000 }, async (t) => {
    const { pusher, open } = await setUp(t, transport);
    const client = open(undefined, { activityTimeout: 1000, pongTimeout: 3000 });
    const got = collect(await subscribe(client, 'CHAT_42'), 'message');
    const states = collect(client.connection, 'state_change');
    await pause(8000);
    assert.deepEqual(states, []);
    await pusher.trigger('CHAT_42', 'message', 'still here');
    await until('the event', () => got.length);
  });

  test(`${transport}: an unknown key is refused for good`, async (t) => {
    const { open } = await setUp(t, transport);
    const client = open(undefined, { key: 'unknown' });
    const errors = collect(client.connection, 'error');
    await until('it gives up', () => ['failed', 'disconnected'].includes(client.connection.state));
    assert.equal(errors[0]?.data?.code ?? errors[0]?.error?.data?.code, 4001);
  });

  test(`${transport}: a client comes back after the server was stopped`, { timeout: 60_000 }, async (t) => {
    const { server, open } = await setUp(t, transport);
    const client = open();
    await subscribe(client, 'CHAT_42');
    const confirmed = collect(client.channel('CHAT_42'), 'pusher:subscription_succeeded');
    const { code } = await server.kill('SIGTERM');
    assert.equal(code, 0);
    const second = await startServer(t, '--app', appFlag, '--listen', `127.0.0.1:${server.port}`);
    await until('it is subscribed again', () => confirmed.length, 45_000);
    assert.equal(second.hasEnded, false);
  });
}

test('a client that may use everything begins with a WebSocket', async (t) => {
  const { open } = await setUp(t, 'ws');
  const client = open(undefined, { enabledTransports: ['ws', 'xhr_streaming', 'xhr_polling'] });
  await inState(client, 'connected');
  assert.equal(client.connection.connection.transport.name, 'ws');
});
