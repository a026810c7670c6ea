// The program: flags, files, exit codes, and what it prints.
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import test from 'node:test';

import { app, appFlag, backend, collect, connect, runServer, startServer, subscribe, until } from './support.js';

async function configFile(t, contents) {
  const directory = await mkdtemp(path.join(os.tmpdir(), 'fanfare-'));
  t.after(() => rm(directory, { recursive: true }));
  const file = path.join(directory, 'config.json');
  await writeFile(file, typeof contents === 'string' ? contents : JSON.stringify(contents));
  return file;
}

test('wrong use ends with 2 and says what is wrong', async (t) => {
  const cases = [
    [['--lisen', 'x'], /^fanfare-server: "--lisen": there is no such flag \(did you mean "--listen"\?\)\n$/],
    [['--threads', '0'], /^fanfare-server: --threads "0": expected a whole number from 1 to 64\n$/],
    [['--app', '42:key'], /^fanfare-server: --app: expected ID:KEY:SECRET\n$/],
    [['--max-outbox-bytes', '65536'], /^fanfare-server: application '42': max_outbox_bytes must be at least/],
    [['--pusher-js', '/nowhere/pusher.js'], /^fanfare-server: \/nowhere\/pusher\.js: cannot be read: No such file/],
    [['--config', '/nowhere/config.json'], /^fanfare-server: \/nowhere\/config\.json: cannot be read: No such file/],
    [['--config', '/'], /^fanfare-server: \/: cannot be read: Is a directory\n$/],
    [['--config', await configFile(t, '{\n  "apps": [}')], /config\.json:2:12: this is not JSON: /],
    [['--config', await configFile(t, { apps: [{ id: 1, key: 'k' }] })], /: apps\[0\]\.secret: expected .* it is missing\n$/],
    [['--config', await configFile(t, { lister: [] })], /: lister: there is no such key \(did you mean "listen"\?\)\n$/],
  ];
  for (const [args, expected] of cases) {
    const program = runServer(t, ...args);
    assert.deepEqual(await program.ended, { code: 2, signal: null }, args.join(' '));
    assert.match(program.stderr, expected);
    assert.equal(program.stdout, '');
  }
});

test('a secret is never printed back', async (t) => {
  const program = runServer(t, '--app', '4 2:key:do-not-print-me', '--listen', '127.0.0.1:0');
  assert.equal((await program.ended).code, 2);
  assert.doesNotMatch(program.stderr, /do-not-print-me/);
});

test('a port in use ends with 1', async (t) => {
  const { port } = await startServer(t, '--app', appFlag);
  const program = runServer(t, '--app', appFlag, '--listen', `127.0.0.1:${port}`);
  assert.deepEqual(await program.ended, { code: 1, signal: null });
  assert.match(program.stderr, new RegExp(`^fanfare-server: .*127\\.0\\.0\\.1:${port}.*[Aa]ddress already in use`));
  assert.equal(program.stdout, '');
});

test('help and version go to the output and end with 0', async (t) => {
  const help = runServer(t, '--help');
  assert.deepEqual(await help.ended, { code: 0, signal: null });
  assert.match(help.stdout, /usage: fanfare-server/);
  const version = runServer(t, '--version');
  assert.deepEqual(await version.ended, { code: 0, signal: null });
  assert.match(version.stdout, /^fanfare-server \d+\.\d+\.\d+\n$/);
});

test('it listens within a second and prints the port that it got', async (t) => {
  // The machine may be busy with other tests: one start of three has to be quick.
  const took = [];
  let server;
  for (let i = 0; i < 3; ++i) {
    const begin = Date.now();
    server = await startServer(t, '--app', appFlag);
    took.push(Date.now() - begin);
  }
  assert.ok(Math.min(...took) < 1000, `it took ${took} ms`);
  assert.notEqual(server.port, 0);
  assert.equal(server.stdout, `listening on ${server.url}\n`);
  assert.equal((await fetch(`${server.url}/nothing`)).status, 404);
});

test('it serves every listener, whichever thread a client comes to', async (t) => {
  const server = runServer(t, '--app', appFlag, '--threads', '2', '--listen', '127.0.0.1:0', '--listen=[::1]:0');
  const [, first] = await server.line(/^listening on http:\/\/127\.0\.0\.1:(\d+)$/m);
  const [, second] = await server.line(/^listening on http:\/\/\[::1\]:(\d+)$/m);
  const got = [
    collect(await subscribe(connect(t, Number(first)), 'CHAT_42'), 'message'),
    collect(await subscribe(connect(t, Number(second), { wsHost: '[::1]' }), 'CHAT_42'), 'message'),
  ];
  await backend(t, Number(first)).trigger('CHAT_42', 'message', 'hi');
  await until('both got it', () => got.every((events) => events.length));
});

test('a file is enough by itself, and an id may be a number', async (t) => {
  const config = await configFile(t, {
    listen: ['127.0.0.1:0'], threads: 2, apps: [{ id: 42, key: app.key, secret: app.secret }],
  });
  const server = await startServer(t, '--config', config);
  const got = collect(await subscribe(connect(t, server.port), 'CHAT_42'), 'message');
  await backend(t, server.port).trigger('CHAT_42', 'message', 'hi');
  await until('the event', () => got.length);
});

test('an application that is not enabled lets nobody in', async (t) => {
  const config = await configFile(t, { listen: ['127.0.0.1:0'], apps: [{ ...app, enabled: false }] });
  const server = await startServer(t, '--config', config);
  const client = connect(t, server.port);
  const errors = collect(client.connection, 'error');
  await until('it is refused', () => ['failed', 'disconnected'].includes(client.connection.state));
  assert.equal(errors[0]?.data?.code ?? errors[0]?.error?.data?.code, 4003);
});

test('it serves below a path', async (t) => {
  const server = await startServer(t, '--app', appFlag, '--path-prefix', '/realtime');
  const got = collect(await subscribe(connect(t, server.port, { wsPath: '/realtime' }), 'CHAT_42'), 'message');
  const path = '/realtime/apps/42/channels';
  assert.equal((await fetch(`${server.url}${path}`)).status, 401);
  assert.equal((await fetch(`${server.url}/apps/42/channels`)).status, 404);
  assert.deepEqual(got, []);
});

test('without an application it has one for development, and says so', async (t) => {
  const server = await startServer(t);
  const [, id, key, secret] = await server.line(/^application for development, known to everybody: id (\S+), key (\S+), secret (\S+)$/m);
  const got = collect(await subscribe(connect(t, server.port, { key }), 'CHAT_42'), 'message');
  await backend(t, server.port, { appId: id, key, secret }).trigger('CHAT_42', 'message', 'hi');
  await until('the event', () => got.length);
});

test('with an application of its own it has no demo', async (t) => {
  const server = await startServer(t, '--app', appFlag);
  assert.equal((await fetch(`${server.url}/`)).status, 404);
  assert.equal((await fetch(`${server.url}/demo/join`, { method: 'POST' })).status, 404);
});
