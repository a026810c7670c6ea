// Pages that read too slowly, with pusher-js as it is, and with the helper that resumes.
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import test from 'node:test';

import { resume } from '../../examples/web/resume.js';
import { app, backend, collect, connect, makeDirectory, startServer, subscribe, until } from './support.js';

const count = 90; // of 200 KB: more than the kernel takes, and the server keeps for one client
const filling = '.'.repeat(200_000);

async function setUp(t) {
  const config = path.join(await makeDirectory(t), 'config.json');
  const bytes = 64 * 1024 * 1024;
  const channels = [
    { match: '*long', history: { count: 1000, bytes }, overflow: 'drop_oldest' },
    { match: 'short', history: { count: 5, bytes }, overflow: 'drop_newest' },
    { match: 'plain', overflow: 'drop_oldest' },
    { match: 'price', overflow: 'conflate' },
  ];
  const apps = [{ ...app, channels, max_event_bytes: 300_000, kept_bytes: 4 * bytes }];
  const options = { listen: ['127.0.0.1:0'], max_outbox_bytes: 1_000_000, max_body_bytes: 1_000_000 };
  await writeFile(config, JSON.stringify({ ...options, apps }));
  const server = await startServer(t, '--config', config);
  const pusher = backend(t, server.port);
  const trigger = (channel, event, n) => pusher.trigger(channel, event, { n, filling });
  return { trigger, client: connect(t, server.port), quick: connect(t, server.port) };
}

/** Stops to read, until what it returns is called. */
function stall(client) {
  const stream = client.connection.connection.transport.socket._stream;
  stream.pause();
  return () => stream.resume();
}

const numbers = (got) => got.map(({ n }) => n);
const upTo = (n) => Array.from({ length: n }, (_, i) => i);

/** Lets a client stall while a channel speaks, and another one read everything at once. */
async function stallWhile(channel, { trigger, client, quick }, name = () => 'e') {
  const prompt = collect(await subscribe(quick, channel), 'e');
  const go = stall(client);
  for (let n = 0; n < count; ++n) await trigger(channel, name(n), n);
  await until('the quick one has all', () => prompt.length === upTo(count).filter((n) => name(n) === 'e').length);
  go();
}

test('who stalls loses what waited longest, and nobody waits for it', async (t) => {
  const all = await setUp(t);
  const got = collect(await subscribe(all.client, 'plain'), 'e');
  await stallWhile('plain', all);
  await until('the last', () => got.at(-1)?.n === count - 1);
  assert.ok(got.length < count, 'nothing was dropped');
  const hole = numbers(got).findIndex((n, i) => n !== i);
  assert.deepEqual(numbers(got), [...upTo(hole), ...upTo(count).slice(count - (got.length - hole))]);
});

test('who stalls finds the latest of each name', async (t) => {
  const all = await setUp(t);
  const names = ['e', 'f', 'g'];
  const channel = await subscribe(all.client, 'price');
  const got = names.map((name) => collect(channel, name));
  await stallWhile('price', all, (n) => names[n % 3]);
  await until('the last', () => got.every((of, i) => of.at(-1)?.n === count - 3 + i));
  assert.ok(got.flat().length < count, 'nothing was dropped');
});

test('with the helper it is sent what was dropped, and nothing twice', async (t) => {
  const all = await setUp(t);
  const lost = [];
  resume(all.client, (channel) => lost.push(channel));
  const channel = await subscribe(all.client, 'long');
  const got = collect(channel, 'e');
  const entered = collect(channel, 'pusher:subscription_succeeded');
  await stallWhile('long', all);
  await until('the last', () => got.at(-1)?.n === count - 1);
  assert.deepEqual(numbers(got), upTo(count));
  assert.ok(entered.length > 0, 'nothing was dropped');
  assert.deepEqual(lost, []);
  await all.trigger('long', 'e', count);
  await until('the next', () => got.at(-1)?.n === count);
  // And it knows where it stands.
  all.client.disconnect();
  await all.trigger('long', 'e', count + 1);
  all.client.connect();
  await until('what was missed', () => got.at(-1)?.n === count + 1);
  assert.deepEqual(numbers(got), upTo(count + 2));
});

test('with the helper it is told when what was dropped is gone', async (t) => {
  const all = await setUp(t);
  const lost = [];
  resume(all.client, (channel) => lost.push(channel));
  const got = collect(await subscribe(all.client, 'short'), 'e');
  await stallWhile('short', all);
  await until('the last', () => got.at(-1)?.n === count - 1);
  assert.deepEqual(lost, ['short']);
  assert.deepEqual(numbers(got).slice(-5), upTo(count).slice(-5)); // what is kept
  assert.equal(new Set(numbers(got)).size, got.length);
});

test('in a presence channel nobody is seen to leave for it', async (t) => {
  const all = await setUp(t);
  const channelAuthorization = (client, id) => {
    client.config.channelAuthorizer = ({ socketId, channelName }, done) => {
      const data = backend(t, 1).authorizeChannel(socketId, channelName, { user_id: id });
      done(null, data);
    };
  };
  channelAuthorization(all.client, 'slow');
  channelAuthorization(all.quick, 'quick');
  const lost = [];
  resume(all.client, (channel) => lost.push(channel));
  const got = collect(await subscribe(all.client, 'presence-long'), 'e');
  const gone = collect(await subscribe(all.quick, 'presence-long'), 'pusher:member_removed');
  await stallWhile('presence-long', all);
  await until('the last', () => got.at(-1)?.n === count - 1);
  assert.deepEqual([...new Set(lost)], ['presence-long']);
  assert.deepEqual(gone, []);
});
