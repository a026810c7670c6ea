// The demo in a browser: two tabs see each other.
import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import net from 'node:net';
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

/** A way to the server that can be interrupted. */
async function cable(t, port) {
  const sockets = new Set();
  let plugged = true;
  const relay = net.createServer((client) => {
    if (!plugged) return client.destroy();
    const server = net.connect(port, '127.0.0.1');
    for (const [from, to] of [[client, server], [server, client]]) {
      sockets.add(from);
      from.on('error', () => {}).on('close', () => {
        sockets.delete(from);
        to.destroy();
      });
      from.pipe(to);
    }
  });
  await new Promise((resolve) => relay.listen(0, '127.0.0.1', resolve));
  const unplug = () => {
    plugged = false;
    for (const socket of sockets) socket.destroy();
  };
  t.after(() => {
    unplug();
    relay.close();
  });
  return { url: `http://127.0.0.1:${relay.address().port}`, unplug, plug: () => { plugged = true; } };
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

test('who comes late, reloads or was away sees all, without a timer', { timeout: 180_000 }, async (t) => {
  const server = await startServer(t);
  for (const name of ['demo.js', 'resume.js', '']) {
    assert.doesNotMatch(await (await fetch(`${server.url}/${name}`)).text(), /setTimeout|setInterval/, name);
  }
  const line = await cable(t, server.port);
  const browser = await openBrowser(t);
  const ann = await openTab(await browser.newContext(), `${server.url}/`);
  await connected(ann);
  await join(ann, 'ann');
  const said = [];
  const sayAsAnn = async (text) => {
    await say(ann, text);
    said.push(text);
    await until('ann sees it', async () => (await texts(ann)).length === said.length);
  };
  await sayAsAnn('one');
  await sayAsAnn('two');

  const late = await openTab(await browser.newContext(), `${line.url}/`);
  await keepingScreenshots('late', [ann, late], async () => {
    const shows = async (what, names) => {
      await until(`${what}: the list`, async () => (await players(late)).join() === names.join());
      await until(`${what}: the messages`, async () => (await texts(late)).join() === said.join());
    };
    await shows('who comes late', ['ann']);
    await join(late, 'bob');
    await shows('who has joined', ['ann', 'bob']);
    await sayAsAnn('three');
    await shows('who is there', ['ann', 'bob']);

    await late.reload();
    await shows('who reloads', ['ann', 'bob']);

    for (let round = 0; round < 2; ++round) {
      line.unplug();
      await late.waitForSelector('#connection:not([data-state="connected"])');
      await sayAsAnn(`while bob is away ${round}`);
      await sayAsAnn(`and again ${round}`);
      const eve = await openTab(await browser.newContext(), `${server.url}/`);
      await connected(eve);
      const name = `eve ${round}`;
      await join(eve, name);
      line.plug();
      await connected(late);
      await shows('who is back', round === 0 ? ['ann', 'bob', name] : ['ann', 'bob', 'eve 0', name]);
      assert.equal(await late.locator('#messages li').count(), said.length, 'nothing twice');
    }
    await sayAsAnn('live');
    await shows('who was away twice', ['ann', 'bob', 'eve 0', 'eve 1']);
    assert.deepEqual(ann.problems, []);
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
