// TLS: clients and backends, and certificates that are exchanged.
import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import https from 'node:https';
import { join } from 'node:path';
import test from 'node:test';
import tls from 'node:tls';

import {
  appFlag, backend, collect, connect, inState, makeCertificate, makeDirectory, runServer, startServer, subscribe, until,
} from './support.js';

// pusher-js cannot be told whom to trust. Every file of tests is a process of its own, so this is for these tests alone.
process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0';

async function setUp(t, ...args) {
  const certificate = await makeCertificate(t);
  const server = await startServer(t, '--app', appFlag, '--listen', '127.0.0.1:0', '--listen-tls', '127.0.0.1:0',
    '--tls-cert', certificate.cert, '--tls-key', certificate.key, ...args);
  const [, port] = await server.line(/^listening on https:\/\/127\.0\.0\.1:(\d+)$/m);
  return { server, certificate, port: Number(port) };
}

/** The certificate that the server shows, as Node tells it. */
function shown(port) {
  return new Promise((resolve, reject) => {
    const socket = tls.connect({ host: '127.0.0.1', port, rejectUnauthorized: false }, () => {
      resolve(socket.getPeerCertificate().fingerprint256);
      socket.end();
    });
    socket.on('error', reject);
  });
}

for (const transport of ['ws', 'xhr_streaming', 'xhr_polling']) {
  test(`a client speaks TLS over ${transport}`, async (t) => {
    const { server, certificate, port } = await setUp(t);
    const client = connect(t, 0, {
      forceTLS: true, wssPort: port, httpHost: '127.0.0.1', httpsPort: port, enabledTransports: [transport],
    });
    const got = collect(await subscribe(client, 'CHAT_42'), 'message');
    const agent = new https.Agent({ ca: await readFile(certificate.cert), rejectUnauthorized: true });
    t.after(() => agent.destroy());
    await backend(t, port, { useTLS: true, agent }).trigger('CHAT_42', 'message', 'through TLS');
    await backend(t, server.port).trigger('CHAT_42', 'message', 'without');
    await until('both events', () => got.length === 2);
    assert.deepEqual(got, ['through TLS', 'without']);
  });
}

test('an application for TLS alone sends clients there', async (t) => {
  const { server, port } = await setUp(t, '--tls-only');
  const client = connect(t, server.port, { wssPort: port, enabledTransports: ['ws', 'wss'] });
  const errors = collect(client.connection, 'error');
  await inState(client, 'connected');
  assert.equal(errors[0]?.data?.code ?? errors[0]?.error?.data?.code, 4000);
  assert.equal(client.connection.connection.transport.options.useTLS, true);
});

for (const transport of ['xhr_streaming', 'xhr_polling']) {
  test(`an application for TLS alone takes ${transport} through TLS`, async (t) => {
    const { server, port } = await setUp(t, '--tls-only');
    const options = { httpHost: '127.0.0.1', enabledTransports: [transport] };
    await subscribe(connect(t, 0, { ...options, forceTLS: true, httpsPort: port }), 'CHAT_42');
    const plain = connect(t, 0, { ...options, httpPort: server.port, httpsPort: port });
    const errors = collect(plain.connection, 'error');
    await until('it is refused', () => errors.length);
    assert.equal(errors[0]?.data?.code ?? errors[0]?.error?.data?.code, 4000);
  });
}

test('SIGHUP exchanges the certificate, and clients stay', async (t) => {
  const { server, certificate, port } = await setUp(t);
  const client = connect(t, 0, { forceTLS: true, wssPort: port });
  const got = collect(await subscribe(client, 'CHAT_42'), 'message');
  const states = collect(client.connection, 'state_change');
  const old = await shown(port);
  await certificate.again();
  assert.equal(await shown(port), old);
  server.child.kill('SIGHUP');
  await server.line(/^reloaded the certificate$/m);
  const fresh = await shown(port);
  assert.notEqual(fresh, old);

  await writeFile(certificate.cert, 'nonsense');
  server.child.kill('SIGHUP');
  await until('it complains', () => /^fanfare-server: .*cert\.pem/m.test(server.stderr));
  assert.equal(await shown(port), fresh);
  await backend(t, server.port).trigger('CHAT_42', 'message', 'still here');
  await until('the event', () => got.length);
  assert.deepEqual(states, []);
  assert.equal((await server.kill('SIGTERM')).code, 0);
});

test('without TLS, SIGHUP ends the server', async (t) => {
  const server = await startServer(t, '--app', appFlag);
  assert.equal((await server.kill('SIGHUP')).signal, 'SIGHUP');
});

test('without TLS but with a file, SIGHUP leaves the server as it is', async (t) => {
  const file = join(await makeDirectory(t), 'server.json');
  await writeFile(file, '{"listen": ["127.0.0.1:0"]}');
  const server = await startServer(t, '--config', file, '--app', appFlag);
  const got = collect(await subscribe(connect(t, server.port), 'CHAT_42'), 'message');
  server.child.kill('SIGHUP');
  await until('it says so', () => /^fanfare-server: .*does not listen for TLS$/m.test(server.stderr));
  await backend(t, server.port).trigger('CHAT_42', 'message', 'still here');
  await until('the event', () => got.length);
  assert.equal((await server.kill('SIGTERM')).code, 0);
});

test('a server may listen for TLS alone', async (t) => {
  const { cert, key } = await makeCertificate(t);
  const server = runServer(t, '--app', appFlag, '--listen-tls', '127.0.0.1:0', '--tls-cert', cert, '--tls-key', key);
  const [line, port] = await server.line(/^listening on https:\/\/127\.0\.0\.1:(\d+)$/m);
  assert.equal(server.stdout, `${line}\n`);
  await inState(connect(t, 0, { forceTLS: true, wssPort: Number(port) }), 'connected');
});

test('the demo is there with TLS too', async (t) => {
  const { cert, key } = await makeCertificate(t);
  const server = runServer(t, '--listen-tls', '127.0.0.1:0', '--tls-cert', cert, '--tls-key', key);
  const [, url] = await server.line(/^demo: open (https:\S+) in two tabs$/m);
  assert.match(await (await fetch(url)).text(), /<title>/);
});

test('a certificate that cannot be used ends with 2', async (t) => {
  const { cert, key } = await makeCertificate(t);
  const other = await makeCertificate(t);
  const listen = ['--app', appFlag, '--listen-tls', '127.0.0.1:0'];
  for (const files of [['/nowhere/cert.pem', key], [cert, '/nowhere/key.pem'], [key, key], [cert, other.key]]) {
    const program = runServer(t, ...listen, '--tls-cert', files[0], '--tls-key', files[1]);
    assert.deepEqual(await program.ended, { code: 2, signal: null }, files.join(' '));
    assert.match(program.stderr, /^fanfare-server: .+\n$/);
    assert.equal(program.stdout, '');
  }
});

test('plain HTTP at the port for TLS is told so', async (t) => {
  const { port } = await setUp(t);
  assert.equal((await fetch(`http://127.0.0.1:${port}/`)).status, 400);
});
