// Runs the official suites: a server, what their own test servers do, and a process for each suite. Prints a line for each
// and what failed; ends with 1 if anything did, or if a suite has become empty.
import { spawn } from 'node:child_process';
import { cp, writeFile } from 'node:fs/promises';
import http from 'node:http';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { build } from 'esbuild';

import { PusherBackend, makeCertificate, makeDirectory, startServer } from '../support.js';

const require = createRequire(import.meta.url);
const here = path.dirname(fileURLToPath(import.meta.url));
const packageOf = (name) => path.dirname(require.resolve(`${name}/package.json`));

// The key stands in pusher-js's specs; numeric, as the backends' URL wants it, is the id.
const app = { id: '1', key: 'c49a449b916bb4246729', secret: 'the-secret' };

/** What `t` is to a test, for all of this program. */
class Scope {
  #cleanups = [];
  after(cleanup) { this.#cleanups.unshift(cleanup); }
  async end() { for (const cleanup of this.#cleanups) await cleanup(); }
}

/** The part of pusher-js's own test server that its specs of channels use: it authorises, and triggers. */
async function startIntegrationServer(scope, port) {
  const pusher = new PusherBackend({
    appId: app.id, key: app.key, secret: app.secret, host: '127.0.0.1', port: String(port), useTLS: false,
  });
  const server = http.createServer(async (request, response) => {
    const url = new URL(request.url, 'http://127.0.0.1');
    let body = '';
    for await (const part of request) body += part;
    if (request.method === 'POST' && url.pathname === '/auth') {
      const form = new URLSearchParams(body);
      const socketId = form.get('socket_id');
      const member = {
        user_id: socketId, user_info: { name: `Integration ${socketId}`, email: `integration-${socketId}@example.com` },
      };
      response.setHeader('Content-Type', 'application/json');
      response.end(JSON.stringify(pusher.authorizeChannel(socketId, form.get('channel_name'), member)));
    } else if (url.pathname.startsWith('/v2/send/')) {
      const field = (name) => Buffer.from(url.searchParams.get(name), 'base64').toString();
      await pusher.trigger(field('channel'), field('event'), JSON.parse(field('data')));
      response.end();
    } else {
      response.writeHead(404).end();
    }
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  scope.after(() => server.close());
  return `http://127.0.0.1:${server.address().port}`;
}

/** The specs and the client's sources in one file. */
async function bundleSpecs(directory) {
  // A copy: inside node_modules, esbuild takes pusher.js for './pusher' and not pusher.ts.
  const client = path.join(directory, 'pusher-js');
  await cp(packageOf('pusher-js'), client, { recursive: true });
  const outfile = path.join(directory, 'pusher_spec.cjs');
  await build({
    entryPoints: [path.join(here, 'pusher_js/index.cjs')],
    outfile,
    bundle: true,
    platform: 'node',
    format: 'cjs',
    logLevel: 'error',
    nodePaths: [
      'src', 'src/runtimes', 'src/runtimes/node', 'spec', 'spec/javascripts/helpers',
    ].map((part) => path.join(client, part)).concat(path.join(here, '../node_modules')),
    alias: {
      testenv: path.join(here, 'pusher_js/testenv.cjs'),
      pusher_integration: path.join(here, 'pusher_js/pusher_integration.cjs'),
      integration: path.join(here, 'pusher_js/integration.cjs'),
    },
    external: ['dom/*'], // of browsers, and not asked for elsewhere
    define: {
      VERSION: '"8.8.8"', RUNTIME: '"node"', CDN_HTTP: '""', CDN_HTTPS: '""', DEPENDENCY_SUFFIX: '""',
    },
  });
  return outfile;
}

/** Runs a suite; its last line is `passed N, failed N`. */
async function runSuite(name, args, env) {
  const child = spawn(process.execPath, args, { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (output += text));
  const code = await new Promise((resolve) => child.on('close', resolve));
  const [, passed, failed] = /^passed (\d+), failed (\d+)$/m.exec(output) ?? [undefined, '0', '?'];
  const ok = code === 0 && failed === '0' && Number(passed) > 0;
  console.log(`${name}: passed ${passed}, failed ${failed}`);
  if (!ok) console.log(output.replace(/^/gm, '    '));
  return { ok, passed: Number(passed) };
}

async function main(scope) {
  const directory = await makeDirectory(scope);
  const { cert, key } = await makeCertificate(scope);
  const config = path.join(directory, 'config.json');
  await writeFile(config, JSON.stringify({
    listen: ['127.0.0.1:0'], listen_tls: ['127.0.0.1:0'], tls_cert: cert, tls_key: key,
    apps: [{ ...app, client_events: true }],
  }));
  const server = await startServer(scope, '--config', config);
  const [, tlsPort] = await server.line(/^listening on https:\/\/127\.0\.0\.1:(\d+)$/m);
  const api = await startIntegrationServer(scope, server.port);
  const bundle = await bundleSpecs(directory);

  const suites = [
    runSuite('pusher, tests/remote', [path.join(here, 'backend.cjs')], {
      PUSHER_URL: `http://${app.key}:${app.secret}@127.0.0.1:${server.port}/apps/${app.id}`,
    }),
  ];
  for (const transport of ['ws', 'xhr_streaming', 'xhr_polling']) {
    for (const tls of [false, true]) {
      suites.push(runSuite(`pusher-js, pusher_spec over ${transport}${tls ? ' with TLS' : ''}`,
        [path.join(here, 'pusher_js/jasmine.js'), bundle], {
          OFFICIAL_API: api, OFFICIAL_PORT: String(server.port), OFFICIAL_TLS_PORT: tlsPort,
          OFFICIAL_TRANSPORT: transport, OFFICIAL_TLS: tls ? '1' : '',
          NODE_TLS_REJECT_UNAUTHORIZED: '0', NODE_NO_WARNINGS: '1',
        }));
    }
  }
  const results = await Promise.all(suites);
  const passed = results.reduce((sum, result) => sum + result.passed, 0);
  const broken = results.filter((result) => !result.ok).length;
  console.log(`official: ${results.length} suites, ${passed} tests passed, ${broken} suites failed`);
  return broken === 0;
}

const scope = new Scope();
try {
  process.exitCode = (await main(scope)) ? 0 : 1;
} finally {
  await scope.end();
}
