// pusher-js in a browser, on a page from elsewhere, over every transport.
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import test from 'node:test';

import { openBrowser } from './browser.js';
import { app, appFlag, backend, makeDirectory, root, serve, startServer, until } from './support.js';

const pusherJs = path.join(root, 'examples/server/node_modules/pusher-js/dist/web/pusher.min.js');

test('a page from another origin gets events over every transport', { timeout: 180_000 }, async (t) => {
  const server = await startServer(t, '--app', appFlag);
  const pusher = backend(t, server.port);
  const elsewhere = await serve(t, () => ({}));
  const browser = await openBrowser(t);
  for (const transport of ['ws', 'xhr_streaming', 'xhr_polling']) {
    const page = await browser.newPage();
    page.setDefaultTimeout(30_000);
    const problems = [];
    page.on('console', (message) => message.type() === 'error' && !message.text().includes('favicon') && problems.push(message.text()));
    await page.goto(`${elsewhere}/`);
    await page.addScriptTag({ path: pusherJs });
    await page.evaluate(([key, port, enabled]) => {
      window.got = [];
      window.client = new window.Pusher(key, {
        cluster: '', wsHost: '127.0.0.1', wsPort: port, httpHost: '127.0.0.1', httpPort: port, forceTLS: false,
        enabledTransports: [enabled],
      });
      window.channel = window.client.subscribe('CHAT_42');
      window.channel.bind('message', (data) => window.got.push(data));
    }, [app.key, server.port, transport]);
    await page.waitForFunction(() => window.channel.subscribed);
    assert.equal(await page.evaluate(() => window.client.connection.connection.transport.name), transport);
    for (let i = 0; i < 50; ++i) await pusher.trigger('CHAT_42', 'message', { i });
    await until('50 events', () => page.evaluate(() => window.got.length >= 50));
    assert.deepEqual(await page.evaluate(() => window.got.map(({ i }) => i)), Array.from({ length: 50 }, (_, i) => i));
    assert.deepEqual(problems, [], transport);
    await page.close();
  }
});

test('an application may choose the pages that connect', { timeout: 120_000 }, async (t) => {
  const config = path.join(await makeDirectory(t), 'config.json');
  await writeFile(config, JSON.stringify({ listen: ['127.0.0.1:0'], apps: [{ ...app, allowed_origins: ['localhost'] }] }));
  const server = await startServer(t, '--config', config);
  const elsewhere = await serve(t, () => ({}));
  const browser = await openBrowser(t);
  for (const [origin, expected] of [[elsewhere, 'refused'], [elsewhere.replace('127.0.0.1', 'localhost'), 'connected']]) {
    const page = await browser.newPage();
    await page.goto(`${origin}/`);
    await page.addScriptTag({ path: pusherJs });
    const outcome = await page.evaluate(([key, port]) => new Promise((resolve) => {
      const client = new window.Pusher(key, {
        cluster: '', wsHost: '127.0.0.1', wsPort: port, forceTLS: false, enabledTransports: ['ws'],
      });
      client.connection.bind('connected', () => resolve('connected'));
      client.connection.bind('error', (error) => (error?.data?.code ?? error?.error?.data?.code) === 4009 && resolve('refused'));
    }), [app.key, server.port]);
    assert.equal(outcome, expected, origin);
    await page.close();
  }
});
