// What the tests have in common: programs that are started and stopped, clients, and waiting.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createRequire } from 'node:module';
import { Agent } from 'node:http';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

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
