// What goes wrong, and how official clients take it: refusals, restarts, a server that stops.
import assert from 'node:assert/strict';
import test from 'node:test';

import { app, appFlag, backend, collect, connect, inState, pause, startServer, subscribe, until } from './support.js';

const start = (t, ...args) => startServer(t, '--app', appFlag, ...args);

test('a client with an unknown key is refused for good', async (t) => {
  const { port } = await start(t);
  const client = connect(t, port, { key: 'unknown' });
  const errors = collect(client.connection, 'error');
  await until('it gives up', () => ['failed', 'disconnected'].includes(client.connection.state));
  assert.equal(errors[0]?.data?.code ?? errors[0]?.error?.data?.code, 4001);
  await pause(1500);
  assert.ok(['failed', 'disconnected'].includes(client.connection.state), 'it does not come back');
});

test('a backend with a wrong secret is refused', async (t) => {
  const { port } = await start(t);
  const wrong = backend(t, port, { secret: 'wrong' });
  await assert.rejects(wrong.trigger('CHAT_42', 'message', 'x'), { status: 401 });
  const unknown = backend(t, port, { key: 'unknown' });
  await assert.rejects(unknown.trigger('CHAT_42', 'message', 'x'), { status: 401 });
});

test('what is too large is refused, and nobody gets it', async (t) => {
  const { port } = await start(t);
  const pusher = backend(t, port);
  const got = collect(await subscribe(connect(t, port), 'CHAT_42'), 'message');
  await assert.rejects(pusher.trigger('CHAT_42', 'message', 'x'.repeat(10 * 1024 + 1)), { status: 413 });
  await pusher.trigger('CHAT_42', 'message', 'x'.repeat(10 * 1024));
  await until('the smaller one', () => got.length);
  assert.equal(got.length, 1);
});

test('a client comes back after the server was killed', { timeout: 60_000 }, async (t) => {
  const first = await start(t);
  const client = connect(t, first.port);
  const got = collect(await subscribe(client, 'CHAT_42'), 'message');
  const confirmed = collect(client.channel('CHAT_42'), 'pusher:subscription_succeeded');
  await first.kill('SIGKILL');
  await until('it notices', () => client.connection.state !== 'connected');
  const second = await start(t, '--listen', `127.0.0.1:${first.port}`);
  await until('it is subscribed again', () => confirmed.length, 45_000);
  await backend(t, second.port).trigger('CHAT_42', 'message', 'again');
  await until('the event', () => got.length);
  assert.deepEqual(got, ['again']);
});

for (const signal of ['SIGTERM', 'SIGINT']) {
  test(`${signal} ends the server in time, and clients come back`, { timeout: 60_000 }, async (t) => {
    const first = await start(t);
    const client = connect(t, first.port);
    await subscribe(client, 'CHAT_42');
    const confirmed = collect(client.channel('CHAT_42'), 'pusher:subscription_succeeded');
    const errors = collect(client.connection, 'error');
    const begin = Date.now();
    const { code } = await first.kill(signal);
    assert.equal(code, 0);
    assert.ok(Date.now() - begin < 6000, `it took ${Date.now() - begin} ms`);
    assert.equal(first.stderr, '');
    await start(t, '--listen', `127.0.0.1:${first.port}`);
    await until('it is subscribed again', () => confirmed.length, 45_000);
    const codes = errors.map((e) => e?.data?.code ?? e?.error?.data?.code).filter((c) => c !== undefined);
    for (const c of codes) assert.ok(c >= 4100 && c < 4300, `the code ${c} lets a client come back`);
  });
}

test('a second signal ends the server at once', async (t) => {
  // A connection that says nothing and does not go holds up the first.
  const server = await start(t, '--drain-timeout', '60');
  const { connect: dial } = await import('node:net');
  const silent = dial({ host: '127.0.0.1', port: server.port, allowHalfOpen: true });
  t.after(() => silent.destroy());
  silent.on('error', () => {});
  silent.write(`GET /app/${app.key}?protocol=7 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
    'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n');
  await until('it is connected', () => silent.bytesRead > 0);
  server.kill('SIGTERM');
  await pause(300);
  assert.equal(server.hasEnded, false, 'it waits for the connection');
  const begin = Date.now();
  server.kill('SIGTERM');
  await server.ended;
  assert.ok(Date.now() - begin < 2000);
});

test('a client that disconnects is counted out', async (t) => {
  const { port } = await start(t);
  const client = connect(t, port);
  await subscribe(client, 'CHAT_42');
  client.disconnect();
  await inState(client, 'disconnected');
  const pusher = backend(t, port);
  await until('the channel is empty', async () =>
    !(await (await pusher.get({ path: '/channels/CHAT_42', params: {} })).json()).occupied);
});
