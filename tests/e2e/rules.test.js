// What docs/reference/protocol.md says of the HTTP fallbacks, as bytes: pusher-js shows no more than that they work.
import assert from 'node:assert/strict';
import http from 'node:http';
import test from 'node:test';

import { app, appFlag, backend, pause, startServer, until } from './support.js';

const query = '?protocol=7&client=js&version=8.4.0&t=1&n=1';
const decoded = (line) => JSON.parse(line.slice(1));
const event = (line) => JSON.parse(decoded(line)[0]);

/** A session, as a client sees it that has nothing but requests. */
class Session {
  constructor(t, server, { key = app.key, name = '17/0a1b2c3v' } = {}) {
    this.server = server;
    this.base = `/app/${key}/${name}`;
    this.agent = new http.Agent({ keepAlive: true });
    t.after(() => this.agent.destroy());
  }

  /** Asks, and resolves with {status, headers} and `lines`, to which a stream adds as long as it is not `ended`. */
  ask(kind, body = '', { method = 'POST', headers = { 'Content-Type': 'application/json' } } = {}) {
    return new Promise((resolve, reject) => {
      const target = this.base + kind + (kind === '/xhr_send' ? '?t=1&n=1' : query);
      const request = http.request(this.server.url + target, { method, headers, agent: this.agent }, (response) => {
        const answer = { status: response.statusCode, headers: response.headers, text: '', lines: [], ended: false };
        response.setEncoding('utf8').on('data', (text) => {
          answer.text += text;
          answer.lines = answer.text.split('\n').slice(0, -1);
        });
        const end = () => {
          answer.ended = true;
          resolve(answer);
        };
        response.on('end', end).on('error', end);
        if (kind === '/xhr_streaming') resolve(answer);
      });
      request.on('error', reject);
      request.end(body);
    });
  }
  poll() { return this.ask('/xhr'); }
  stream() { return this.ask('/xhr_streaming'); }
  send(...frames) { return this.ask('/xhr_send', JSON.stringify(frames.map((frame) => JSON.stringify(frame)))); }
}

/** Without empty lines, behind which a client reads nothing. */
function assertLines(answer) {
  assert.equal(answer.status, 200);
  assert.ok(answer.text.endsWith('\n'), answer.text);
  for (const line of answer.lines) assert.match(line, /^(o|h|[ac]\[.*\])$/);
}

const start = (t, ...args) => startServer(t, '--app', appFlag, ...args);

test('a poll opens a session once, with the confirmation in the same answer', async (t) => {
  const session = new Session(t, await start(t));
  const first = await session.poll();
  assertLines(first);
  assert.equal(first.headers['content-type'], 'application/javascript; charset=UTF-8');
  assert.equal(first.headers['cache-control'], 'no-store');
  assert.equal(first.headers['x-accel-buffering'], 'no');
  assert.equal(first.headers['access-control-allow-origin'], '*');
  assert.equal(first.lines.length, 2);
  assert.equal(first.lines[0], 'o');
  assert.equal(event(first.lines[1]).event, 'pusher:connection_established');
  assert.equal(JSON.parse(event(first.lines[1]).data).activity_timeout, 120);
  // Between two polls it waits, and what it is sent waits too.
  const answer = await session.send({ event: 'pusher:ping', data: {} });
  assert.equal(answer.status, 204);
  assert.equal(answer.text, '');
  const second = await session.poll();
  assertLines(second);
  assert.deepEqual(second.lines.map(event), [{ event: 'pusher:pong', data: '{}' }]);
});

test('a stream opens a session once, and has no end of its own', async (t) => {
  const server = await start(t);
  const session = new Session(t, server);
  const stream = await session.stream();
  await until('the confirmation', () => stream.lines.length === 2);
  assert.equal(stream.headers['transfer-encoding'], 'chunked');
  assert.equal(stream.headers['content-type'], 'application/javascript; charset=UTF-8');
  assert.equal(stream.lines[0], 'o');
  assert.equal(event(stream.lines[1]).event, 'pusher:connection_established');
  await session.send({ event: 'pusher:subscribe', data: { auth: '', channel: 'CHAT_42' } });
  for (let i = 0; i < 5; ++i) await backend(t, server.port).trigger('CHAT_42', 'message', `${i}`);
  await until('the events', () => stream.text.includes('\\"data\\":\\"4\\"'));
  assertLines(stream);
  assert.equal(stream.lines.filter((line) => line === 'o').length, 1);
  const events = stream.lines.slice(1).flatMap(decoded).map((text) => JSON.parse(text));
  assert.deepEqual(events.slice(1).map(({ event: name, data }) => [name, data]),
    [['pusher_internal:subscription_succeeded', '{}'], ...[0, 1, 2, 3, 4].map((i) => ['message', `${i}`])]);
  assert.equal(stream.ended, false);
});

test('rule 20: a ping over HTTP is answered by a line that asks nothing', async (t) => {
  const session = new Session(t, await start(t));
  const stream = await session.stream();
  await until('the confirmation', () => stream.lines.length === 2);
  // As pusher-js does: whatever is `h` is answered by `[]`.
  let answered = 2;
  const answer = async () => {
    for (; answered < stream.lines.length; ++answered) if (stream.lines[answered] === 'h') await session.send();
  };
  for (let i = 1; i <= 3; ++i) {
    await session.send();
    await until('the answer', () => stream.lines.length === 2 + i);
    await answer();
  }
  await pause(300);
  await answer();
  assert.deepEqual(stream.lines.slice(2), ['a[]', 'a[]', 'a[]']);
});

test('nothing can be sent to a session that there is not', async (t) => {
  const server = await start(t);
  assert.equal((await new Session(t, server).send({ event: 'pusher:ping' })).status, 404);
  // Nor to that of another key, server or name.
  await new Session(t, server).poll();
  for (const other of [{ name: '18/0a1b2c3v' }, { name: '17/0a1b2c3w' }, { key: 'unknown' }]) {
    assert.equal((await new Session(t, server, other).send({ event: 'pusher:ping' })).status, 404);
  }
  assert.equal((await new Session(t, server).send({ event: 'pusher:ping' })).status, 204);
});

test('a newer receiving request takes the place of the older', async (t) => {
  const server = await start(t);
  const session = new Session(t, server);
  const older = await session.stream();
  await until('the confirmation', () => older.lines.length === 2);
  await session.send({ event: 'pusher:subscribe', data: { channel: 'CHAT_42' } });
  await until('the subscription', () => older.lines.length === 3);
  const newer = await session.stream();
  await backend(t, server.port).trigger('CHAT_42', 'message', 'new');
  await until('the event', () => newer.lines.length);
  assert.deepEqual(newer.lines.map(event), [{ event: 'message', channel: 'CHAT_42', data: 'new' }]);
  await until('the older one has ended', () => older.ended);
  assert.equal(older.lines.length, 3);
});

test('a session and what it is sent survive the gap between two requests', async (t) => {
  const server = await start(t);
  const session = new Session(t, server);
  await session.poll();
  await session.send({ event: 'pusher:subscribe', data: { channel: 'CHAT_42' } });
  await session.poll();
  const pusher = backend(t, server.port);
  for (const data of ['1', '2']) await pusher.trigger('CHAT_42', 'message', data);
  await pause(6000);
  await pusher.trigger('CHAT_42', 'message', '3');
  const got = [];
  while (got.length < 3) {
    const answer = await session.poll();
    assertLines(answer);
    got.push(...answer.lines.flatMap(decoded).map((text) => JSON.parse(text).data));
  }
  assert.deepEqual(got, ['1', '2', '3']);
});

test('who is refused is told by lines with the status 200', async (t) => {
  const server = await start(t);
  const session = new Session(t, server, { key: 'unknown' });
  let lines = [];
  for (let i = 0; i < 3 && !lines.some((line) => line.startsWith('c')); ++i) {
    const answer = await session.poll();
    assertLines(answer);
    lines = lines.concat(answer.lines);
  }
  assert.equal(lines[0], 'o');
  assert.equal(event(lines[1]).event, 'pusher:error');
  assert.equal(event(lines[1]).data.code, 4001);
  const [code, reason] = decoded(lines[2]);
  assert.equal(code, 4001);
  assert.equal(reason, event(lines[1]).data.message);
  assert.equal(lines.length, 3);
});

test('a browser may ask from a page of another origin', async (t) => {
  const session = new Session(t, await start(t));
  for (const kind of ['/xhr', '/xhr_streaming', '/xhr_send']) {
    const { status, headers } = await session.ask(kind, '', {
      method: 'OPTIONS',
      headers: { Origin: 'https://example.com', 'Access-Control-Request-Method': 'POST', 'Access-Control-Request-Headers': 'content-type' },
    });
    assert.equal(status, 204, kind);
    assert.equal(headers['access-control-allow-origin'], '*', kind);
    assert.match(headers['access-control-allow-methods'], /POST/);
    assert.match(headers['access-control-allow-headers'], /content-type/i);
    assert.ok(Number(headers['access-control-max-age']) > 0);
  }
});

test('a poll for which there is nothing ends with a heartbeat in 25 to 60 seconds', { timeout: 120_000 }, async (t) => {
  const session = new Session(t, await start(t));
  await session.poll();
  const begin = Date.now();
  const answer = await session.poll();
  const seconds = (Date.now() - begin) / 1000;
  assertLines(answer);
  assert.deepEqual(answer.lines, ['h']);
  assert.ok(seconds > 24 && seconds < 60, `${seconds} s`);
  await session.send({ event: 'pusher:ping' });
  assert.deepEqual((await session.poll()).lines.map(event), [{ event: 'pusher:pong', data: '{}' }]);
});
