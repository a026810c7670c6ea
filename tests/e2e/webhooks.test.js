// Webhooks: what a web server is told of what happens, in the official package's eyes.
import assert from 'node:assert/strict';
import test from 'node:test';

import { appFlag, backend, connect, serve, startAuthorizer, startServer, subscribe, until } from './support.js';

/** A web server that keeps every webhook, and answers by `answer()`. */
async function startHook(t, pusher, answer = () => 200) {
  const hook = { requests: [], events: [] };
  hook.url = await serve(t, ({ method, url, headers }, rawBody) => {
    const webhook = pusher().webhook({ headers, rawBody });
    hook.requests.push({ method, url, headers, valid: webhook.isValid() });
    const status = answer(hook.requests.length);
    if (status === 200) hook.events.push(...webhook.getEvents());
    return status;
  });
  return hook;
}

async function setUp(t, args, answer) {
  let pusher;
  const hook = await startHook(t, () => pusher, answer);
  const server = await startServer(t, '--app', appFlag, '--webhook', `${hook.url}/hook?a=b`, '--allow-private-webhooks', ...args);
  pusher = backend(t, server.port);
  const as = await startAuthorizer(t, pusher);
  return { hook, pusher, enter: (user) => connect(t, server.port, as(user)), port: server.port };
}

test('a web server is told of all that happens, and can check who told it', { timeout: 60_000 }, async (t) => {
  const { hook, enter } = await setUp(t, ['--client-events', '--subscription-count']);
  const ann = enter({ id: 'ann' });
  const bob = enter({ id: 'bob' });
  const lobby = await subscribe(ann, 'presence-lobby');
  await subscribe(bob, 'presence-lobby');
  await subscribe(ann, 'cache-score');
  lobby.trigger('client-wave', { hand: 'left' });
  const has = (wanted) => hook.events.find((event) => Object.entries(wanted).every(([k, v]) => event[k] === v));
  const channel = 'presence-lobby';
  await until('the first events', () => has({ name: 'client_event' }) && has({ name: 'cache_miss' }));
  assert.ok(has({ name: 'channel_occupied', channel }));
  assert.ok(has({ name: 'channel_occupied', channel: 'cache-score' }));
  assert.ok(has({ name: 'member_added', channel, user_id: 'ann' }));
  assert.ok(has({ name: 'member_added', channel, user_id: 'bob' }));
  assert.ok(has({ name: 'cache_miss', channel: 'cache-score' }));
  await until('the count', () => has({ name: 'subscription_count', channel: 'cache-score', subscription_count: 1 }));
  assert.deepEqual(has({ name: 'client_event' }), {
    name: 'client_event', channel, event: 'client-wave', data: '{"hand":"left"}',
    socket_id: ann.connection.socket_id, user_id: 'ann',
  });

  bob.disconnect();
  await until('Bob went', () => has({ name: 'member_removed', channel, user_id: 'bob' }));
  ann.disconnect();
  await until('Ann too', () => has({ name: 'member_removed', channel, user_id: 'ann' }) && has({ name: 'channel_vacated', channel }));
  for (const request of hook.requests) {
    assert.equal(request.valid, true);
    assert.equal(request.method, 'POST');
    assert.equal(request.url, '/hook?a=b');
    assert.equal(request.headers['content-type'], 'application/json');
  }
});

test('only those events are told that were asked for', { timeout: 60_000 }, async (t) => {
  const { hook, enter } = await setUp(t, ['--webhook-events', 'channel_vacated,channel_occupied']);
  const client = enter({ id: 'ann' });
  await subscribe(client, 'presence-lobby');
  await until('it is occupied', () => hook.events.length);
  client.disconnect();
  await until('it is vacated', () => hook.events.length === 2);
  assert.deepEqual(hook.events.map(({ name }) => name), ['channel_occupied', 'channel_vacated']);
});

test('who comes back at once was never away', { timeout: 60_000 }, async (t) => {
  const { hook, enter } = await setUp(t, []);
  const client = enter();
  await subscribe(client, 'CHAT_42');
  await until('it is occupied', () => hook.events.length);
  client.unsubscribe('CHAT_42');
  const again = enter();
  await subscribe(again, 'CHAT_42');
  await subscribe(again, 'CHAT_43');
  await until('the other is occupied', () => hook.events.some(({ channel }) => channel === 'CHAT_43'));
  await new Promise((resolve) => setTimeout(resolve, 4000));
  assert.deepEqual(hook.events.map(({ name, channel }) => [name, channel]),
    [['channel_occupied', 'CHAT_42'], ['channel_occupied', 'CHAT_43']]);
});

test('a web server that fails is asked again', { timeout: 60_000 }, async (t) => {
  const { hook, enter } = await setUp(t, [], (n) => (n < 3 ? 500 : 200));
  await subscribe(enter(), 'CHAT_42');
  await until('the third attempt', () => hook.events.length, 30_000);
  assert.equal(hook.requests.length, 3);
  assert.deepEqual(hook.events, [{ name: 'channel_occupied', channel: 'CHAT_42' }]);
});
