// The demo in a browser: two tabs see each other.
import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import test from 'node:test';
import { openBrowser } from './browser.js';
import { makeCertificate, root, runServer, startServer, until } from './support.js';

const patience = 30_000;

/** Opens the demo. The page keeps what it complains about in `page.problems`. */
async function openTab(context, url) {
  const page = await context.newPage();
  page.setDefaultTimeout(patience);
  page.problems = [];
  page.on('pageerror', (error) => page.problems.push(String(error)));
  page.on('console', (message) => message.type() === 'error' && page.problems.push(message.text()));
  page.on('request', (request) => {
    if (!request.url().startsWith(url) && !request.url().startsWith('data:')) page.problems.push(`asks for ${request.url()}`);
  });
  await page.goto(url);
  return page;
}

/** Runs `body`; if it fails, what the pages show is kept in build/e2e. */
async function keepingScreenshots(name, pages, body) {
  try {
    await body();
  } catch (error) {
    const directory = path.join(root, 'build/e2e');
    await mkdir(directory, { recursive: true });
    for (const [i, page] of pages.entries()) {
      await page.screenshot({ path: path.join(directory, `${name}-${i + 1}.png`), fullPage: true }).catch(() => {});
    }
    throw error;
  }
}

const connected = (page) => page.waitForSelector('#connection[data-state="connected"]');
const players = (page) => page.locator('#players li bdi').allTextContents();
const texts = (page) => page.locator('#messages .text').allTextContents();

async function join(page, name) {
  await page.fill('#username', name);
  await page.click('#join button');
  await page.waitForSelector('#message:enabled');
}

async function say(page, text) {
  await page.fill('#message', text);
  await page.press('#message', 'Enter');
}

test('two tabs join, chat and see each other', { timeout: 180_000 }, async (t) => {
  const { url } = await startServer(t);
  const context = await (await openBrowser(t)).newContext();
  const ann = await openTab(context, `${url}/`);
  const bob = await openTab(context, `${url}/`);
  await keepingScreenshots('two-tabs', [ann, bob], async () => {
    await connected(ann);
    await connected(bob);
    await join(ann, 'ann');
    await join(bob, '<img src=x onerror=a()>');
    const both = ['ann', '<img src=x onerror=a()>'];
    for (const page of [ann, bob]) {
      await until('both players', async () => (await players(page)).length === 2);
      assert.deepEqual(await players(page), both);
      assert.equal(await page.textContent('#players .me bdi'), page === ann ? both[0] : both[1]);
    }

    await say(ann, 'hello <b>bob</b>');
    await until('the first message', async () => (await texts(bob)).length === 1);
    await say(bob, 'hello ann 🎺');
    for (const page of [ann, bob]) {
      await until('both messages', async () => (await texts(page)).length === 2);
      assert.deepEqual(await texts(page), ['hello <b>bob</b>', 'hello ann 🎺']);
      assert.equal(await page.locator('#messages b, #messages img, #players img').count(), 0);
    }

    const late = await openTab(context, `${url}/`);
    await until('a late tab sees everything', async () => (await texts(late)).length === 2 && (await players(late)).length === 2);

    await bob.reload();
    await connected(bob);
    await until('who reloads is there again', async () => (await players(bob)).length === 2);
    await bob.close({ runBeforeUnload: false });
    for (const page of [ann, late]) assert.deepEqual(page.problems, []);
  });
});

test('a name that is taken is refused in words', { timeout: 120_000 }, async (t) => {
  const { url } = await startServer(t);
  const context = await (await openBrowser(t)).newContext();
  const first = await openTab(context, `${url}/`);
  const second = await openTab(context, `${url}/`);
  await keepingScreenshots('name-taken', [first, second], async () => {
    await connected(first);
    await connected(second);
    await join(first, 'ann');
    await second.fill('#username', 'ann');
    await second.click('#join button');
    await second.waitForSelector('#join-error:not([hidden])');
    assert.match(await second.textContent('#join-error'), /that name already/);
  });
});

test('the page comes back by itself when the server was restarted', { timeout: 120_000 }, async (t) => {
  const server = await startServer(t);
  const context = await (await openBrowser(t)).newContext();
  const page = await openTab(context, `${server.url}/`);
  await keepingScreenshots('restart', [page], async () => {
    await connected(page);
    await join(page, 'ann');
    await server.kill('SIGTERM');
    await page.waitForSelector('#connection:not([data-state="connected"])');
    await startServer(t, '--listen', `127.0.0.1:${server.port}`);
    await connected(page);
    await until('the player has joined again', async () => (await players(page)).includes('ann'), patience);
    await say(page, 'still here');
    await until('the message', async () => (await texts(page)).includes('still here'));
  });
});

test('without pusher-js the page says what is missing', { timeout: 120_000 }, async (t) => {
  const { url } = await startServer(t, '--pusher-js', '/dev/null');
  const page = await openTab(await (await openBrowser(t)).newContext(), `${url}/`);
  await page.waitForSelector('#notice:not([hidden])');
  assert.match(await page.textContent('#notice'), /script\/server/);
});

test('the demo works through TLS', { timeout: 120_000 }, async (t) => {
  const { cert, key } = await makeCertificate(t);
  const server = runServer(t, '--listen-tls', '127.0.0.1:0', '--tls-cert', cert, '--tls-key', key);
  const [, url] = await server.line(/^listening on (https:\S+)$/m);
  const context = await (await openBrowser(t)).newContext({ ignoreHTTPSErrors: true });
  const page = await openTab(context, `${url}/`);
  await keepingScreenshots('tls', [page], async () => {
    await connected(page);
    await join(page, 'ann');
    await say(page, 'hello');
    await until('the message', async () => (await texts(page)).includes('hello'));
    assert.deepEqual(page.problems, []);
  });
});
