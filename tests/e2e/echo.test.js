// Laravel Echo, over pusher-js.
import assert from 'node:assert/strict';
import test from 'node:test';

import Echo from 'laravel-echo';

import { appFlag, backend, connect, startAuthorizer, startServer, until } from './support.js';

test('Echo listens, joins and whispers', async (t) => {
  const server = await startServer(t, '--app', appFlag, '--client-events');
  const pusher = backend(t, server.port);
  const as = await startAuthorizer(t, pusher);
  const echo = (id) => new Echo({
    broadcaster: 'pusher', client: connect(t, server.port, as({ id, info: { name: id } })),
  });
  const ann = echo('ann');
  const bob = echo('bob');
  const ready = (channel) => new Promise((resolve, reject) => channel.subscribed(resolve).error(reject));
  const got = [];

  const news = ann.channel('news').listen('.message', (data) => got.push(['channel', data]));
  const everything = [];
  news.listenToAll((event, data) => everything.push([event, data]));
  const orders = ann.private('orders').listen('OrderShipped', (data) => got.push(['private', data]));
  orders.listenForWhisper('typing', (data) => got.push(['whisper', data]));
  const here = [];
  const joined = [];
  const left = [];
  const lobby = ann.join('lobby').here((users) => here.push(...users)).joining((user) => joined.push(user))
    .leaving((user) => left.push(user)).error((error) => assert.fail(JSON.stringify(error)));
  await Promise.all([ready(news), ready(orders), ready(lobby)]);
  assert.deepEqual(here, [{ name: 'ann' }]);

  await ready(bob.join('lobby'));
  await until('Bob is seen', () => joined.length);
  assert.deepEqual(joined, [{ name: 'bob' }]);
  const bobsOrders = bob.private('orders');
  await ready(bobsOrders);
  bobsOrders.whisper('typing', { name: 'bob' });
  await until('the whisper', () => got.length === 1);

  await pusher.trigger('news', 'message', { n: 1 });
  await pusher.trigger('private-orders', 'App\\Events\\OrderShipped', { order: 2 });
  await until('both events', () => got.length === 3);
  assert.deepEqual(got, [['whisper', { name: 'bob' }], ['channel', { n: 1 }], ['private', { order: 2 }]]);
  assert.deepEqual(everything, [['.message', { n: 1 }]]);

  bob.leave('lobby');
  await until('Bob is gone', () => left.length);
  assert.deepEqual(left, [{ name: 'bob' }]);
});
