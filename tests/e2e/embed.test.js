// fanfare inside other programs, as examples/embed shows it: official clients and backends, and what the host serves itself.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { connect as dial } from 'node:net';
import path from 'node:path';
import test from 'node:test';

import { Program, backend, collect, connect, startAuthorizer, subscribe, until } from './support.js';

const directory = path.join(path.dirname(process.env.FANFARE_SERVER), 'embed');
const app = { id: '42', key: 'a-key', secret: 'a-secret' };

/** Starts an example. `api` and `sockets` are the ports where it has them, `web` is where its pages are. */
async function start(t, name, args, patterns) {
  const file = path.join(directory, name);
  assert.ok(existsSync(file), `${file} is not built: its packages are installed by script/bootstrap test`);
  const host = new Program(t, file, args.map(String));
  const ports = {};
  for (const [port, pattern] of Object.entries(patterns)) ports[port] = Number((await host.line(pattern))[1]);
  return { host, ports };
}
const listening = /^listening on http:\/\/127\.0\.0\.1:(\d+)$/m;

const hosts = {
  beast_server: {
    start: (t, { web = 0 } = {}) => start(t, 'beast_server', [web], { web: listening, sockets: listening, api: listening }),
  },
  httplib_server: {
    start: (t, { web = 0, sockets = 0 } = {}) => start(t, 'httplib_server', [web, sockets], {
      web: listening, api: listening, sockets: /^sockets on http:\/\/127\.0\.0\.1:(\d+)$/m,
    }),
  },
  asio_server: {
    start: (t, { sockets = 0, lines = 0 } = {}) => start(t, 'asio_server', [sockets, lines], {
      sockets: listening, api: listening, lines: /^lines on 127\.0\.0\.1:(\d+)$/m,
    }),
  },
};

/** Has the host itself trigger `said` on LOBBY_42, by its own page or protocol. */
async function say(t, ports, text) {
  if (ports.web) {
    const answer = await fetch(`http://127.0.0.1:${ports.web}/say`, { method: 'POST', body: text });
    assert.equal(answer.status, 200, await answer.text());
  } else {
    const line = await new Lines(t, ports.lines).ask(`LOBBY_42 said ${text}`);
    assert.match(line, /: 1$/);
  }
}

/** A client of the protocol of lines. */
class Lines {
  constructor(t, port) {
    this.text = '';
    this.socket = dial({ host: '127.0.0.1', port });
    this.socket.setEncoding('utf8').on('data', (text) => (this.text += text)).on('error', () => {});
    this.socket.on('close', () => (this.closed = true));
    t.after(() => this.socket.destroy());
  }

  /** The next line that it answers. */
  async ask(line) {
    this.text = '';
    this.socket.write(`${line}\n`);
    await until(`an answer to ${line}`, () => this.text.endsWith('\n'));
    return this.text.trimEnd();
  }
}

const clientOf = (t, ports, options = {}) => connect(t, ports.sockets, { key: app.key, ...options });
const backendOf = (t, ports) => backend(t, ports.api, { appId: app.id, key: app.key, secret: app.secret });

for (const [name, host] of Object.entries(hosts)) {
  test(`${name}: a page gets what the host triggers, and what a backend does`, async (t) => {
    const { ports } = await host.start(t);
    const lobby = await subscribe(clientOf(t, ports), 'LOBBY_42');
    const said = collect(lobby, 'said');
    const joined = collect(lobby, 'PLAYER_JOIN');
    await say(t, ports, '{"username":"ann"}');
    await until('what the host says', () => said.length);
    assert.deepEqual(said, [{ username: 'ann' }]);

    const pusher = backendOf(t, ports);
    for (const username of ['bob', 'cy']) await pusher.trigger('LOBBY_42', 'PLAYER_JOIN', { username });
    await until('what the backend says', () => joined.length === 2);
    assert.deepEqual(joined, [{ username: 'bob' }, { username: 'cy' }]);
    const answer = await pusher.get({ path: '/channels/LOBBY_42', params: { info: 'subscription_count' } });
    assert.equal((await answer.json()).occupied, true);
    const wrong = backend(t, ports.api, { appId: app.id, key: app.key, secret: 'wrong' });
    await assert.rejects(wrong.trigger('LOBBY_42', 'PLAYER_JOIN', {}), { status: 401 });
  });

  test(`${name}: private and presence channels`, async (t) => {
    const { ports } = await host.start(t);
    const pusher = backendOf(t, ports);
    const as = await startAuthorizer(t, pusher);
    const client = clientOf(t, ports, as({ id: 'ann', info: { name: 'Ann' } }));
    const got = collect(await subscribe(client, 'private-table'), 'card');
    await pusher.trigger('private-table', 'card', { card: 7 });
    await until('the event', () => got.length);
    assert.deepEqual(got, [{ card: 7 }]);

    const lobby = await subscribe(client, 'presence-lobby');
    const added = collect(lobby, 'pusher:member_added');
    await subscribe(clientOf(t, ports, as({ id: 'bob', info: { name: 'Bob' } })), 'presence-lobby');
    await until('bob', () => added.length);
    assert.deepEqual(added, [{ id: 'bob', info: { name: 'Bob' } }]);
    assert.equal(lobby.members.count, 2);
  });

  test(`${name}: a client whose connection breaks comes back`, { timeout: 60_000 }, async (t) => {
    const { ports } = await host.start(t);
    const client = clientOf(t, ports);
    const lobby = await subscribe(client, 'LOBBY_42');
    const confirmed = collect(lobby, 'pusher:subscription_succeeded');
    const said = collect(lobby, 'said');
    client.connection.connection.transport.socket._stream.destroy();
    await until('it is subscribed again', () => confirmed.length, 45_000);
    await say(t, ports, '{"again":true}');
    await until('the event', () => said.length);
    assert.deepEqual(said, [{ again: true }]);
  });

  test(`${name}: SIGTERM ends it in time, and clients come back to the next`, { timeout: 60_000 }, async (t) => {
    const first = await host.start(t);
    const client = clientOf(t, first.ports);
    const lobby = await subscribe(client, 'LOBBY_42');
    const confirmed = collect(lobby, 'pusher:subscription_succeeded');
    const begin = Date.now();
    assert.deepEqual(await first.host.kill('SIGTERM'), { code: 0, signal: null });
    assert.ok(Date.now() - begin < 6000, `it took ${Date.now() - begin} ms`);
    assert.equal(first.host.stderr, '');
    const second = await host.start(t, first.ports);
    await until('it is subscribed again', () => confirmed.length, 45_000);
    const said = collect(lobby, 'said');
    await say(t, second.ports, '1');
    await until('the event', () => said.length);
  });

  test(`${name}: many clients at a time`, async (t) => {
    const { ports } = await host.start(t);
    const all = await Promise.all(Array.from({ length: 30 }, async () => {
      const lobby = await subscribe(clientOf(t, ports), 'LOBBY_42');
      return collect(lobby, 'PLAYER_JOIN');
    }));
    const pusher = backendOf(t, ports);
    for (let n = 0; n < 10; ++n) await pusher.trigger('LOBBY_42', 'PLAYER_JOIN', n);
    const numbers = Array.from({ length: 10 }, (_, n) => n);
    await until('all events', () => all.every((got) => got.length === 10));
    for (const got of all) assert.deepEqual(got, numbers);
  });
}

for (const name of ['beast_server', 'httplib_server']) {
  test(`${name}: the host's own pages answer`, async (t) => {
    const { ports } = await hosts[name].start(t);
    const url = `http://127.0.0.1:${ports.web}`;
    const page = await fetch(`${url}/`);
    assert.equal(page.status, 200);
    assert.match(await page.text(), /^a page of the host/);
    assert.equal((await fetch(`${url}/none`)).status, 404);
    assert.equal((await fetch(`${url}/apps/42/channels`)).status, 401, 'that is the API');
    // An event that is too large is the host's mistake, and it is told.
    assert.equal((await fetch(`${url}/say`, { method: 'POST', body: 'x'.repeat(10 * 1024 + 1) })).status, 400);
  });
}

test('beast_server: the HTTP fallbacks of pusher-js are handed over too', { timeout: 60_000 }, async (t) => {
  const { ports } = await hosts.beast_server.start(t);
  for (const transport of ['xhr_streaming', 'xhr_polling']) {
    const client = clientOf(t, ports, {
      httpHost: '127.0.0.1', httpPort: ports.sockets, enabledTransports: [transport],
    });
    const said = collect(await subscribe(client, 'LOBBY_42'), 'said');
    await say(t, ports, '1');
    await until(`the event by ${transport}`, () => said.length);
    client.disconnect();
  }
});

test('asio_server: lines and the timer go on beside the sockets', async (t) => {
  const { host, ports } = await hosts.asio_server.start(t);
  const ticks = collect(await subscribe(clientOf(t, ports), 'CLOCK'), 'tick');
  const lines = new Lines(t, ports.lines);
  assert.match(await lines.ask('NOBODY said {"a": 1}'), /: 0$/);
  assert.match(await lines.ask('no/channel said 1'), /: 0$/);
  assert.match(await lines.ask(''), /: 0$/, 'a line without words is no channel');
  assert.match(await lines.ask('CLOCK said 1'), /: 1$/);
  await until('the timer', () => ticks.length >= 3);
  assert.deepEqual(ticks.slice(1), ticks.slice(1).map((_, i) => ticks[0] + i + 1));
  const long = new Lines(t, ports.lines);
  long.socket.write('x'.repeat(20_000));
  await until('the end of who sends too long a line', () => long.closed);
  assert.ok(!host.hasEnded);
});
