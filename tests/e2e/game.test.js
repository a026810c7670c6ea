// The game that is its own server, with pusher-js as its players have it.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import test from 'node:test';

import { collect, connect, Program, subscribe, until } from './support.js';

const binary = process.env.FANFARE_GAME ?? path.join(path.dirname(process.env.FANFARE_SERVER), 'fanfare-game');

async function startGame(t, ...args) {
  const game = new Program(t, binary, ['--port', '0', ...args]);
  const [, port] = await game.line(/^play at http:\/\/127\.0\.0\.1:(\d+)\/$/m);
  return Object.assign(game, { port: Number(port), url: `http://127.0.0.1:${port}` });
}

/** Somebody who watches, and collects the states. */
async function watch(t, game, options = {}) {
  const client = connect(t, game.port, { key: 'game-key', ...options });
  const states = collect(client.subscribe('arena'), 'state');
  await until('a state', () => states.length > 0);
  return { client, states, at: (id) => states.at(-1).players[id] };
}

/** Somebody who plays, too. */
async function join(t, game, name) {
  const channelAuthorization = { endpoint: `${game.url}/auth`, params: { name } };
  const player = await watch(t, game, { channelAuthorization });
  player.arena = await subscribe(player.client, 'presence-arena');
  player.id = player.arena.members.myID;
  await until(`${name} is on the board`, () => player.at(player.id));
  player.steer = (dx, dy) => player.arena.trigger('client-input', { dx, dy });
  return player;
}

const names = ({ arena }) => {
  const all = [];
  arena.members.each(({ info }) => all.push(info.name));
  return all.sort();
};

test('players come, move, see each other move, and go', async (t) => {
  const game = await startGame(t);
  const ann = await join(t, game, 'ann');
  const others = [await join(t, game, 'bob'), await join(t, game, 'cid & co')];
  const [bob] = others;
  const all = ['ann', 'bob', 'cid & co'];
  for (const player of [ann, ...others]) await until('everybody is on the list', () => names(player).length === 3);
  for (const player of [ann, ...others]) assert.deepEqual(names(player), all);

  for (const player of [ann, ...others]) {
    await until('everybody is on the board', () => all.length === Object.keys(player.states.at(-1).players).length);
  }
  const [x, y] = bob.at(ann.id);
  ann.steer(1, 0);
  for (const player of others) await until('she moves to the right', () => player.at(ann.id)[0] > x + 50);
  ann.steer(0, 0);
  bob.steer(-1, -1);
  await until('he moves up and to the left', () => ann.at(bob.id)[0] < x - 20 && ann.at(bob.id)[1] < y - 20);
  assert.equal(bob.at(ann.id)[1], y, 'she stays on her line');

  bob.client.disconnect();
  await until('he is gone from the list', () => names(ann).length === 2);
  await until('and from the board', () => !ann.at(bob.id));
  assert.ok(ann.at(ann.id));
});

test('a direction that is too long, or none, makes nobody faster', async (t) => {
  const game = await startGame(t);
  const ann = await join(t, game, 'ann');
  for (const nonsense of [{ dx: 'far' }, [], 'north', null, { dx: [1] }]) ann.arena.trigger('client-input', nonsense);
  ann.steer(1e300, 0);
  await until('she is at the wall', () => ann.at(ann.id)[0] === 800);
  const steps = ann.states.filter((state) => state.players[ann.id]).map((state) => state.players[ann.id][0]);
  assert.ok(steps.every((at, i) => i === 0 || at - steps[i - 1] <= 4), `${steps}`);
});

test('inputs are for the game alone, and nobody comes in without a name', async (t) => {
  const game = await startGame(t);
  const ann = await join(t, game, 'ann');
  const bob = await join(t, game, 'bob');
  const heard = collect(bob.arena, 'client-input');
  const [x] = await until('he sees her', () => bob.at(ann.id));
  ann.steer(-1, 0);
  await until('she moves', () => bob.at(ann.id)[0] < x);
  assert.deepEqual(heard, []);
  const post = (body) => fetch(`${game.url}/auth`, { method: 'POST', body: new URLSearchParams(body) });
  assert.equal((await post({ socket_id: '1.1', channel_name: 'presence-arena' })).status, 403);
  assert.equal((await post({ socket_id: '1.1', channel_name: 'presence-arena', name: 'n'.repeat(25) })).status, 403);
  assert.equal((await post({ socket_id: '1.1', channel_name: 'private-other', name: 'ann' })).status, 403);
});

test('who comes late has the state with the subscription, and the page is there', async (t) => {
  const game = await startGame(t);
  const ann = await join(t, game, 'ann');
  const late = connect(t, game.port, { key: 'game-key' });
  await until('connected', () => late.connection.state === 'connected');
  const order = [];
  const arena = late.subscribe('arena');
  arena.bind('pusher:subscription_succeeded', () => order.push('in'));
  arena.bind('state', (state) => order.push(state));
  await until('a state', () => order.length > 1);
  assert.equal(order[0], 'in');
  assert.ok(order[1].tick > 0 && ann.id in order[1].players);

  const page = await fetch(`${game.url}/`);
  assert.match(page.headers.get('content-type'), /^text\/html/);
  assert.match(await page.text(), /<canvas/);
  for (const script of ['game.js', 'pusher.min.js']) {
    const answer = await fetch(`${game.url}/${script}`);
    assert.equal(answer.status, 200);
    assert.ok((await answer.text()).length > 1000);
  }
});

test('who stalls gets the newest state and not the backlog', async (t) => {
  const game = await startGame(t, '--bots', '1000'); // 20 KB with each tick: more than the kernel takes in a few seconds
  const quick = await watch(t, game);
  const slow = await watch(t, game);
  const last = ({ states }) => states.at(-1).tick;
  const holes = () => slow.states.map(({ tick }, i) => tick - (slow.states[i - 1]?.tick ?? tick - 1) - 1).filter(Boolean);
  for (let seconds = 8; holes().length === 0 && seconds <= 64; seconds *= 2) {
    const stream = slow.client.connection.connection.transport.socket._stream;
    stream.pause();
    const stalled = last(quick);
    await until('the game has gone on', () => last(quick) > stalled + seconds * 60, 120_000);
    const now = last(quick);
    stream.resume();
    await until('the slow one is up to date', () => last(slow) >= now);
  }
  assert.equal(holes().length, 1, 'all that waited beyond the kernel was one state');
  assert.equal(slow.client.connection.state, 'connected');
  game.kill('SIGTERM');
  const [, skipped] = await game.line(/; (\d+) states skipped/);
  assert.equal(Number(skipped), holes()[0]);
});

test('it has one thread, and says how steadily it ticked', async (t) => {
  const game = await startGame(t, '--seconds', '2');
  await join(t, game, 'ann');
  const status = await readFile(`/proc/${game.child.pid}/status`, 'utf8');
  assert.match(status, /^Threads:\t1$/m);
  assert.deepEqual(await game.ended, { code: 0, signal: null });
  assert.match(game.stdout, /^\d+ ticks, late by [\d.]+ ms at p50, [\d.]+ ms at p99, [\d.]+ ms at most; 0 states skipped/m);
});

test('it says what is wrong with its arguments', async (t) => {
  for (const args of [['--port'], ['--port', '65536'], ['--bots', 'many'], ['--fast']]) {
    const game = new Program(t, binary, args);
    assert.deepEqual(await game.ended, { code: 2, signal: null });
    assert.match(game.stderr, /^usage: fanfare-game/);
  }
});
