// What channels keep outlives the server: also one that is killed again and again while backends trigger.
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import test from 'node:test';

import { resume } from '../../examples/web/resume.js';
import { app, backend, collect, connect, makeDirectory, pause, runServer, startServer, until } from './support.js';

const kept = { count: 1_000_000, seconds: 86_400, bytes: 1 << 30 };
const channels = [{ match: 'CHAT', history: kept }, { match: 'STATE', retain: true }];

async function configure(t, store) {
  const directory = await makeDirectory(t);
  const config = path.join(directory, 'config.json');
  const paths = { config, file: path.join(directory, 'kept.db') };
  const all = { ...app, kept_bytes: 2 ** 32, channels, store: { path: paths.file, ...store } };
  const write = (port) => writeFile(config, JSON.stringify({ listen: [`127.0.0.1:${port}`], apps: [all] }));
  await write(0);
  return { ...paths, write };
}

/** All events behind an id, and the id behind which the next ones will be. */
async function history(pusher, from) {
  const events = [];
  for (let more = true, next = from; more; ) {
    const params = { limit: 1000, ...(next ? { from: next } : {}) };
    const page = await (await pusher.get({ path: '/channels/CHAT/history', params })).json();
    assert.ok(page.complete);
    events.push(...page.events);
    ({ more, next } = page);
  }
  return events;
}

for (const durability of ['process', 'power']) {
  test(`a server that ends and starts again goes on where it was (${durability})`, async (t) => {
    const { config, write } = await configure(t, { durability });
    let server = await startServer(t, '--config', config);
    let pusher = backend(t, server.port);
    for (let i = 0; i < 3; ++i) await pusher.trigger(['CHAT', 'STATE'], 'e', i);
    const before = await history(pusher);
    const client = connect(t, server.port);
    const lost = [];
    resume(client, (channel) => lost.push(channel));
    const got = collect(client.subscribe('CHAT'), 'e');
    await until('the history', () => got.length === 3);
    client.disconnect();
    await server.kill('SIGTERM');

    await write(server.port);
    server = await startServer(t, '--config', config);
    pusher = backend(t, server.port);
    const after = await history(pusher);
    assert.ok(after.every(({ time }, i) => Math.abs(time - before[i].time) <= 1)); // which are whole seconds
    const whatItSaid = (events) => events.map(({ id, event, data }) => ({ id, event, data }));
    assert.deepEqual(whatItSaid(after), whatItSaid(before));
    const state = collect(connect(t, server.port).subscribe('STATE'), 'e');
    await until('the state', () => state.length);
    assert.deepEqual(state, [2]);
    // Who was there before comes back with the last id that it saw, and is sent the rest.
    await pusher.trigger('CHAT', 'e', 3);
    client.connect();
    await until('what came meanwhile', () => got.length === 4);
    assert.deepEqual(got, [0, 1, 2, 3]);
    assert.deepEqual(lost, []);
  });
}

test('nothing that was acknowledged is lost, and no id comes twice, however often the server is killed', async (t) => {
  const { config } = await configure(t);
  const lives = 22;
  const workers = 6;
  const acknowledged = new Set();
  const latest = Array(workers).fill(-1); // of each worker, acknowledged
  const next = Array(workers).fill(0);
  const data = new Map(); // of each id that anybody has ever seen
  const see = (id, text) => {
    assert.equal(data.get(id) ?? text, text, `the id ${id} is another event's`);
    data.set(id, text);
  };
  let last = '';
  const verify = async (pusher, port) => {
    const events = await history(pusher);
    let previous = '';
    const there = new Set();
    for (const { id, data: text } of events) {
      assert.ok(id > previous, `${id} stands behind ${previous}`); // of one epoch, and of one length
      previous = id;
      see(id, text);
      there.add(text);
    }
    assert.ok(previous >= last, 'what was there is gone');
    last = previous;
    assert.equal(there.size, events.length, 'an event is there twice');
    for (const text of acknowledged) assert.ok(there.has(text), `${text} was acknowledged, and is gone`);
    // Each worker's events are in the order in which it was answered.
    const of = Array(workers).fill(-1);
    for (const { data: text } of events) {
      const [worker, number] = text.split('-').map(Number);
      assert.ok(number > of[worker], text);
      of[worker] = number;
    }
    const client = connect(t, port);
    const state = {};
    client.bind_global((event, value) => { state[event] = value; });
    const ended = [];
    client.connection.bind('message', ({ event }) => ended.push(event));
    client.subscribe('STATE');
    await until('the state', () => ended.includes('pusher_internal:replayed'));
    for (let worker = 0; worker < workers; ++worker) {
      if (latest[worker] < 0) continue;
      const number = Number(state[`w${worker}`]?.split('-')[1] ?? -1);
      assert.ok(number >= latest[worker], `${number} is retained, and ${latest[worker]} was acknowledged`);
    }
    client.disconnect();
  };

  for (let life = 0; life < lives; ++life) {
    const server = await startServer(t, '--config', config);
    const pusher = backend(t, server.port);
    if (life > 0) await verify(pusher, server.port);
    const page = connect(t, server.port);
    page.connection.bind('message', ({ id, event, data: text }) => {
      if (id && /^w\d/.test(event)) see(id, text);
    });
    page.subscribe('CHAT');
    let running = true;
    const work = next.map(async (_, worker) => {
      while (running) {
        const number = next[worker]++;
        const text = `${worker}-${number}`;
        try {
          await pusher.trigger(['CHAT', 'STATE'], `w${worker}`, text);
        } catch {
          return; // it was killed: nobody knows what became of this one
        }
        acknowledged.add(text);
        latest[worker] = number;
      }
    });
    await pause(20 + Math.random() * 250);
    await server.kill('SIGKILL');
    running = false;
    page.disconnect();
    await Promise.all(work);
  }
  const server = await startServer(t, '--config', config);
  await verify(backend(t, server.port), server.port);
  assert.ok(acknowledged.size > lives * workers, `only ${acknowledged.size} events were acknowledged`);
  t.diagnostic(`${lives} lives, ${acknowledged.size} events acknowledged, ${data.size} ids seen`);
});

test('two servers cannot have one store, and a file that is none is left alone', async (t) => {
  const { config, file } = await configure(t);
  const first = await startServer(t, '--config', config);
  const second = runServer(t, '--config', config);
  assert.deepEqual(await second.ended, { code: 1, signal: null });
  assert.match(second.stderr, /application '42': the store .*kept\.db: another program has the store open/);
  await first.kill('SIGTERM');

  const other = await configure(t);
  await writeFile(other.file, 'This is a letter, and it is long enough to be taken for something. '.repeat(20));
  const third = runServer(t, '--config', other.config);
  assert.equal((await third.ended).code, 1);
  assert.match(third.stderr, /the file is not a store of kept events/);
});
