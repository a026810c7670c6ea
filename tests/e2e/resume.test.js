// The helper that resumes, with pusher-js as it is, against a server that says what the test wants, when it wants it.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { createServer } from 'node:http';
import test from 'node:test';

import { resume } from '../../examples/web/resume.js';
import { app, backend, collect, connect, inState, pause, startServer, subscribe, until } from './support.js';

/** Speaks WebSocket, as much as it takes. `heard` is what has come from the last client, `say` sends it a message. */
async function startScript(t) {
  const script = { heard: [] };
  const server = createServer().on('upgrade', (request, socket) => {
    const key = request.headers['sec-websocket-key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
    const accept = createHash('sha1').update(key).digest('base64');
    socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
      `Sec-WebSocket-Accept: ${accept}\r\n\r\n`);
    let unread = Buffer.alloc(0);
    socket.on('error', () => {}).on('data', (bytes) => {
      unread = Buffer.concat([unread, bytes]);
      for (;;) { // frames of a client: masked, and here shorter than 64 KiB
        if (unread.length < 2) return;
        const long = (unread[1] & 127) === 126;
        const mask = long ? 4 : 2;
        if (unread.length < mask + 4) return;
        const size = long ? unread.readUInt16BE(2) : unread[1] & 127;
        const begin = mask + 4;
        if (unread.length < begin + size) return;
        const text = Buffer.from(unread.subarray(begin, begin + size).map((byte, i) => byte ^ unread[mask + (i % 4)]));
        if ((unread[0] & 15) === 1) script.heard.push(JSON.parse(text.toString()));
        unread = unread.subarray(begin + size);
      }
    });
    script.say = (message) => {
      const text = Buffer.from(JSON.stringify(message));
      const head = Buffer.from([0x81, 126, text.length >> 8, text.length & 255]);
      socket.write(Buffer.concat([text.length < 126 ? Buffer.from([0x81, text.length]) : head, text]));
    };
    script.cut = () => socket.destroy();
    const data = JSON.stringify({ socket_id: '1.1', activity_timeout: 120 });
    script.say({ event: 'pusher:connection_established', data });
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    script.cut?.();
    server.close();
  });
  script.port = server.address().port;
  return script;
}

/** A page that has joined channel `x`, and what it has been given. */
async function setUp(t, succeeded = {}) {
  const script = await startScript(t);
  const client = connect(t, script.port);
  const lost = [];
  const places = resume(client, (channel) => lost.push(channel));
  const asked = (event) => script.heard.filter((message) => message.event === event).map(({ data }) => data);
  const all = {
    script, client, places, lost, got: [],
    say: (event, data, more = {}) => script.say({ event, channel: 'x', data, ...more }),
    succeed: (more) => all.say('pusher_internal:subscription_succeeded', '{}', more),
    replayed: (id) => all.say('pusher_internal:replayed', '{}', { id }),
    event: (n) => all.say('e', String(n), { id: `E-${n}` }),
    /** Waits for the page's next wish to be in the channel. \returns what it says. */
    async wish() {
      const wishes = await until('it subscribes', () => {
        const now = asked('pusher:subscribe');
        return now.length > all.wishes && now;
      });
      return wishes[all.wishes++];
    },
    wishes: 0,
    /** Waits until the page has read all that was said to it. */
    async settle() {
      const marks = [];
      client.connection.bind('message', ({ event }) => event === 'mark' && marks.push(event));
      script.say({ event: 'mark', data: '{}' });
      await until('the mark', () => marks.length);
    },
    join() {
      const channel = client.subscribe('x');
      channel.bind('e', (n) => all.got.push(n));
      return channel;
    },
  };
  all.channel = all.join();
  assert.equal((await all.wish()).since, undefined);
  all.succeed(succeeded);
  return all;
}

test('a channel that gets its order while the page is in it has a place', async (t) => {
  const all = await setUp(t);
  all.event(1);
  all.event(2);
  await until('both', () => all.got.length === 2);
  all.script.cut();
  assert.equal((await all.wish()).since, 'E-2');
});

test('a channel that is left has no place, whatever is still on its way', async (t) => {
  const all = await setUp(t, { replays: true });
  all.replayed('E-1');
  await all.settle();
  assert.equal(all.places.get('x'), 'E-1');
  all.client.unsubscribe('x');
  all.event(2);
  all.replayed('E-3');
  await all.settle();
  assert.equal(all.places.get('x'), undefined);
  all.join();
  all.event(4);
  await all.settle();
  assert.equal((await all.wish()).since, undefined);
  assert.equal(all.places.get('x'), undefined);
});

test('what is on its way when a page comes back while it fills a gap is not given to it', async (t) => {
  const all = await setUp(t, { replays: true });
  all.replayed('E-1');
  all.say('pusher_internal:gap', '{"from":"E-2","to":"E-3"}');
  assert.equal((await all.wish()).since, 'E-1');
  all.client.unsubscribe('x');
  all.client.subscribe('x');
  all.event(4);
  all.succeed({ replays: true, resumed: true });
  for (const n of [2, 3, 4]) all.event(n);
  await all.settle();
  assert.deepEqual(all.got, [2, 3, 4]);
  assert.deepEqual(all.lost, []);
});

test('who loses its connection while it resumes is sent nothing twice', async (t) => {
  const all = await setUp(t, { replays: true });
  all.replayed('E-1');
  await all.settle();
  all.script.cut();
  assert.equal((await all.wish()).since, 'E-1');
  all.succeed({ replays: true, resumed: true });
  all.event(2);
  all.event(3);
  await until('both', () => all.got.length === 2);
  all.script.cut();
  assert.equal((await all.wish()).since, 'E-3');
  all.succeed({ replays: true, resumed: true });
  await all.settle();
  assert.deepEqual(all.lost, []);
});

test('who loses its connection while it is sent everything is told that it comes again', async (t) => {
  const all = await setUp(t, { replays: true });
  all.event(1);
  await until('the first', () => all.got.length);
  all.script.cut();
  assert.equal((await all.wish()).since, undefined);
  assert.deepEqual(all.lost, []);
  all.succeed({ replays: true });
  all.event(1);
  await until('it again', () => all.got.length === 2);
  assert.deepEqual(all.lost, ['x']);
  all.replayed('E-1');
  await all.settle();
  all.script.cut();
  assert.equal((await all.wish()).since, 'E-1');
  all.succeed({ replays: true, resumed: true });
  await all.settle();
  assert.deepEqual(all.lost, ['x']);
});

test('while a gap is filled, only what the protocol says is let through', async (t) => {
  const all = await setUp(t, { replays: true });
  const said = ['pushed', 'pusherX', 'pusher:cache_miss'];
  const got = said.map((event) => collect(all.channel, event));
  all.replayed('E-1');
  all.say('pusher_internal:gap', '{"from":"E-2","to":"E-3"}');
  await all.wish();
  for (const event of said) all.say(event, '1');
  await all.settle();
  assert.deepEqual(got.map((of) => of.length), [0, 0, 1]);
});

test('a gap that cannot be filled is told', async (t) => {
  const all = await setUp(t, { replays: true });
  all.replayed('E-1');
  all.say('pusher_internal:gap', '{"from":"E-2","to":"E-3"}');
  await all.wish();
  all.say('pusher:subscription_error', '{"type":"LimitReached","status":4100}');
  await all.settle();
  assert.deepEqual(all.lost, ['x']);
});

test('a channel of a server that gets its order while pages are in it is resumed', async (t) => {
  const server = await startServer(t, '--app', `${app.id}:${app.key}:${app.secret}`);
  const pusher = backend(t, server.port);
  const client = connect(t, server.port);
  const lost = [];
  const places = resume(client, (channel) => lost.push(channel));
  const got = collect(await subscribe(client, 'x'), 'e');
  await pusher.trigger('x', 'e', 1, { retain: true });
  await until('it', () => got.length);
  await pusher.trigger('x', 'e', 2, { retain: true });
  await until('its place', () => places.get('x'));
  const keeper = connect(t, server.port);
  await subscribe(keeper, 'x');
  await pause(1500); // until the channel has its order for good
  await pusher.trigger('x', 'e', 3, { retain: true });
  await until('the third', () => got.at(-1) === 3);
  client.disconnect();
  await inState(client, 'disconnected');
  client.connect();
  await until('it is back', () => client.channel('x').subscribed);
  await pusher.trigger('x', 'e', 4);
  await until('the last', () => got.at(-1) === 4);
  assert.deepEqual(got, [1, 2, 3, 4]);
  assert.deepEqual(lost, []);
});
