import { resume } from './resume.js';

// Names come from strangers: every text goes into the page by textContent.

const $ = (id) => document.getElementById(id);
const me = { username: sessionStorage.getItem('username') ?? '', player: sessionStorage.getItem('player') ?? '' };

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function face(username) {
  let hue = 0;
  for (const character of username) hue = (hue * 31 + character.codePointAt(0)) % 9973;
  hue = (hue * 47) % 360;
  const made = element('span', 'face', [...username][0]?.toUpperCase() ?? '?');
  made.style.setProperty('--hue', hue);
  made.setAttribute('aria-hidden', 'true');
  return made;
}

function showConnection(state) {
  const words = {
    initialized: 'starting', connecting: 'connecting', connected: 'connected', unavailable: 'no connection, trying again',
    failed: 'cannot connect', disconnected: 'disconnected',
  };
  $('connection').dataset.state = state;
  $('connection-text').textContent = words[state] ?? state;
}

function showNotice(text) {
  $('notice').textContent = text;
  $('notice').hidden = text === '';
}

function showError(id, text) {
  $(id).textContent = text;
  $(id).hidden = text === '';
}

function showMe() {
  const joined = me.player !== '';
  $('join').hidden = joined;
  markMe();
  $('message').disabled = !joined;
  $('message').placeholder = joined ? 'Say something' : 'Join to write';
  document.querySelector('#chat button').disabled = !joined;
}

function forgetMe() {
  me.player = '';
  sessionStorage.removeItem('player');
  showMe();
}

// The event that tells of me can be here before the answer that tells me who I am, so this is done at both.
function markMe() {
  for (const line of $('players').children) {
    const mine = me.player !== '' && line.dataset.username === me.username;
    line.classList.toggle('me', mine);
    line.querySelector('.you')?.remove();
    if (mine) line.append(element('span', 'you', 'you'));
  }
}

// Those who stay keep their line, so that only what is new is announced and moves.
function showPlayers(players) {
  const list = $('players');
  const names = players.map((player) => String(player.username));
  for (const line of [...list.children]) if (!names.includes(line.dataset.username)) line.remove();
  const shown = new Set([...list.children].map((line) => line.dataset.username));
  for (const username of names) {
    if (shown.has(username)) continue;
    const line = element('li');
    line.dataset.username = username;
    line.append(face(username), element('bdi', '', username));
    list.append(line);
  }
  markMe();
  $('player-count').textContent = names.length;
  $('no-players').hidden = names.length > 0;
}

function showMessage({ username, message, timestamp }) {
  const scroll = $('scroll');
  const atEnd = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 60;

  const head = element('div', 'head');
  const time = element('time', '', new Date(timestamp).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' }));
  time.dateTime = timestamp;
  head.append(element('bdi', '', username), time);
  const text = element('div', 'text', message);
  text.dir = 'auto';
  const line = element('li', me.player !== '' && username === me.username ? 'me' : '');
  line.append(face(String(username)), head, text);

  $('messages').append(line);
  while ($('messages').children.length > 200) $('messages').firstChild.remove();
  $('no-messages').hidden = true;
  if (atEnd) scroll.scrollTop = scroll.scrollHeight;
}

async function send(path, body) {
  let response;
  try {
    response = await fetch(path, {
      method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body), keepalive: true,
    });
  } catch {
    return { ok: false, error: 'The server does not answer.' };
  }
  const answer = await response.json().catch(() => ({}));
  return { ...answer, ok: response.ok, status: response.status };
}

async function join(username) {
  const answer = await send('/demo/join', { username, player: me.player });
  if (!answer.ok) return answer;
  me.username = answer.username;
  me.player = answer.player;
  sessionStorage.setItem('username', me.username);
  sessionStorage.setItem('player', me.player);
  showMe();
  return answer;
}

// The page that goes away says goodbye, so the one that comes in its place says hello.
async function stay() {
  if (me.player === '') return;
  const answer = await join(me.username);
  if (!answer.ok && answer.status !== undefined) forgetMe();
}

// What the server sends behind this is everything, not what came since the connection broke.
function forget(channel) {
  if (channel === 'LOBBY_42') return showPlayers([]);
  $('messages').replaceChildren();
  $('no-messages').hidden = false;
}

$('join').addEventListener('submit', async (event) => {
  event.preventDefault();
  const answer = await join($('username').value.trim());
  showError('join-error', answer.ok ? '' : answer.error ?? 'That did not work.');
  if (answer.ok) $('message').focus();
});

$('chat').addEventListener('submit', async (event) => {
  event.preventDefault();
  const message = $('message').value.trim();
  if (message === '') return;
  $('message').value = '';
  let answer = await send('/demo/chat', { player: me.player, message });
  if (answer.status === 403) {  // the server has forgotten this player
    const joined = await join(me.username);
    if (joined.ok) answer = await send('/demo/chat', { player: me.player, message });
    else forgetMe();
  }
  if (!answer.ok && $('message').value === '') $('message').value = message;
  showError('chat-error', answer.ok ? '' : answer.error ?? 'That did not work.');
});

addEventListener('pagehide', () => {
  if (me.player !== '') send('/demo/leave', { player: me.player });
});
addEventListener('pageshow', (event) => {
  if (event.persisted && me.player !== '') join(me.username);
});

async function start() {
  showMe();
  $('username').value = me.username;
  if (typeof Pusher === 'undefined') {
    showConnection('failed');
    showNotice('The server runs, but this page lacks pusher-js. Start the server with script/server, which fetches it.');
    return;
  }
  const { key, path } = await (await fetch('/demo/state', { cache: 'no-store' })).json();
  const secure = location.protocol === 'https:';
  const port = Number(location.port) || (secure ? 443 : 80);
  const pusher = new Pusher(key, {
    cluster: '',  // no cluster of Pusher's: the server that sent this page
    wsPath: path,
    wsHost: location.hostname,
    wsPort: port,
    wssPort: port,
    forceTLS: secure,
    enabledTransports: ['ws'],
    enableStats: false,
  });

  resume(pusher, forget);
  pusher.connection.bind('state_change', ({ current }) => showConnection(current));
  showConnection(pusher.connection.state);

  // The lobby's channel keeps the last list, and the chat's the last messages: they come first, and then what is new.
  const lobby = pusher.subscribe('LOBBY_42');
  lobby.bind('PLAYER_JOIN', showPlayers);
  lobby.bind('PLAYER_LEAVE', (players) => {
    showPlayers(players);
    // Perhaps the goodbye of the page that was here before has come behind this one's hello.
    if (!players.some((player) => player.username === me.username)) stay();
  });
  lobby.bind('pusher:subscription_succeeded', stay);
  pusher.subscribe('CHAT_42').bind('message', showMessage);
}

start().catch(() => showNotice('The server does not answer. Reload the page when it runs again.'));
