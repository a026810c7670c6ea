// What the tests have in common: programs that are started and stopped, clients, and waiting.
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { Agent, createServer } from 'node:http';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const require = createRequire(import.meta.url);
export const PusherClient = require('pusher-js');
export const PusherBackend = require('pusher');

export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');
export const app = { id: '42', key: 'the-key', secret: 'the-secret' };
export const appFlag = `${app.id}:${app.key}:${app.secret}`;

const binary = process.env.FANFARE_SERVER;
assert.ok(binary, 'FANFARE_SERVER names the server to test; tests/e2e/run sets it');

/** Resolves once `condition()` is truthy, with what it is; fails with what it was waiting for after `ms`. */
export async function until(what, condition, ms = 20_000) {
  const end = Date.now() + ms;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > end) assert.fail(`waited ${ms} ms for: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** A program that runs. `ended` resolves with {code, signal} when it has ended and its output is complete. */
export class Program {
  constructor(t, file, args, env = {}) {
    this.stdout = '';
    this.stderr = '';
    this.child = spawn(file, args, { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
    this.child.stdout.setEncoding('utf8').on('data', (text) => (this.stdout += text));
    this.child.stderr.setEncoding('utf8').on('data', (text) => (this.stderr += text));
    this.hasEnded = false;
    this.ended = new Promise((resolve, reject) => {
      this.child.on('error', reject);
      this.child.on('close', (code, signal) => {
        this.hasEnded = true;
        resolve({ code, signal });
      });
    });
    t.after(async () => {
      if (!this.hasEnded) this.child.kill('SIGKILL');
      await this.ended;
    });
  }

  /** The first match of `pattern` in the output. Fails if the program ends without. */
  async line(pattern, ms = 20_000) {
    return until(`${pattern} in the output of ${this.child.spawnfile}`, () => {
      const found = pattern.exec(this.stdout);
      if (!found && this.hasEnded) assert.fail(`it ended.\nstdout: ${this.stdout}\nstderr: ${this.stderr}`);
      return found;
    }, ms);
  }

  kill(signal) {
    this.child.kill(signal);
    return this.ended;
  }
}

export const runServer = (t, ...args) => new Program(t, binary, args);

/** A server that listens; on a free port unless the arguments name one. */
export async function startServer(t, ...args) {
  const listens = args.some((argument) => argument.startsWith('--listen') || argument.startsWith('--config'));
  const server = runServer(t, ...(listens ? [] : ['--listen', '127.0.0.1:0']), ...args);
  const [, port] = await server.line(/^listening on http:\/\/127\.0\.0\.1:(\d+)$/m);
  server.port = Number(port);
  server.url = `http://127.0.0.1:${port}`;
  return server;
}

/** A directory that goes with the test. */
export async function makeDirectory(t) {
  const directory = await mkdtemp(path.join(os.tmpdir(), 'fanfare-'));
  t.after(() => rm(directory, { recursive: true }));
  return directory;
}

/** A certificate that has signed itself, for 127.0.0.1 and localhost. The names of its files, which `again` replaces. */
export async function makeCertificate(t) {
  const directory = await makeDirectory(t);
  const files = { cert: path.join(directory, 'cert.pem'), key: path.join(directory, 'key.pem') };
  const again = () => promisify(execFile)('openssl', [
    'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2', '-subj',
    '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1,DNS:localhost', '-keyout', files.key, '-out', files.cert,
  ]);
  await again();
  return { ...files, again };
}

/** pusher-js as an application makes it, but for where the server is. */
export function connect(t, port, options = {}) {
  const client = new PusherClient(options.key ?? app.key, {
    cluster: '', wsHost: '127.0.0.1', wsPort: port, forceTLS: false, enabledTransports: ['ws'], ...options,
  });
  t.after(() => client.disconnect());
  return client;
}

export const inState = (client, state, ms) =>
  until(`the client is ${state}, it is ${client.connection.state}`, () => client.connection.state === state, ms);

/** Subscribes, and resolves with the channel once the server has confirmed it. */
export async function subscribe(client, name) {
  const channel = client.subscribe(name);
  await until(`${name} is subscribed`, () => channel.subscribed);
  return channel;
}

/** The data of every event of that name, in the order in which they come. */
export function collect(channel, event) {
  const got = [];
  channel.bind(event, (data) => got.push(data));
  return got;
}

/** The official package for backends, as an application makes it, but for where the server is. */
export function backend(t, port, options = {}) {
  const agent = new Agent({ keepAlive: true });
  t.after(() => agent.destroy());
  return new PusherBackend({
    appId: app.id, key: app.key, secret: app.secret, host: '127.0.0.1', port: String(port), useTLS: false, agent, ...options,
  });
}

/** Serves `handle(url, body)`, which returns what to answer: an object as JSON, or a status. Resolves with its address. */
export async function serve(t, handle) {
  const server = createServer(async (request, response) => {
    let body = '';
    for await (const part of request.setEncoding('utf8')) body += part;
    const answer = await handle(request, body);
    if (typeof answer === 'number') {
      response.writeHead(answer).end();
    } else {
      response.setHeader('Content-Type', 'application/json');
      response.end(JSON.stringify(answer));
    }
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${server.address().port}`;
}

/**
 * The authorising backend of an application. It believes what a client says of itself, which is `user`: {id, info,
 * watchlist}. Returns options for clients: `as({id: 'ann'})`.
 */
export async function startAuthorizer(t, pusher) {
  const url = await serve(t, ({ url: route }, body) => {
    const form = new URLSearchParams(body);
    const user = JSON.parse(form.get('user') ?? 'null');
    const socketId = form.get('socket_id');
    if (route === '/user') {
      return pusher.authenticateUser(socketId, { id: user.id, user_info: user.info, watchlist: user.watchlist });
    }
    const channel = form.get('channel_name');
    if (channel.includes('forbidden')) return 403;
    const member = channel.startsWith('presence-') ? { user_id: user.id, user_info: user.info } : undefined;
    return pusher.authorizeChannel(socketId, channel, member);
  });
  return (user) => {
    const params = user ? { user: JSON.stringify(user) } : {};
    return {
      channelAuthorization: { endpoint: `${url}/channel`, params },
      userAuthentication: { endpoint: `${url}/user`, params },
    };
  };
}
