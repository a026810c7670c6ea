// The arena in the browser. It draws the last state it was sent, and says what is pressed; the game decides.
const canvas = document.querySelector('#arena');
const said = document.querySelector('#said');
const names = new Map();
let state = { players: {} };
let arena; // the presence channel, once one plays
let me;

const client = (params) => new Pusher('game-key', {
  cluster: '', wsHost: location.hostname, wsPort: location.port || 80, forceTLS: false, enabledTransports: ['ws'],
  channelAuthorization: { endpoint: '/auth', params },
});

/** Whoever subscribes to `arena` watches: the last state comes at once, and a new one with each tick. */
function watch(pusher) {
  pusher.subscribe('arena').bind('state', (next) => {
    state = next;
  });
}

let pusher = client({});
watch(pusher);

document.querySelector('#join').addEventListener('submit', (submitted) => {
  submitted.preventDefault();
  pusher.disconnect();
  pusher = client({ name: document.querySelector('#name').value });
  watch(pusher);
  arena = pusher.subscribe('presence-arena');
  const count = () => {
    said.textContent = `${arena.members.count} here: ${[...names.values()].join(', ')}`;
  };
  arena.bind('pusher:subscription_succeeded', (members) => {
    me = members.myID;
    names.clear();
    members.each((member) => names.set(member.id, member.info.name));
    count();
  });
  arena.bind('pusher:subscription_error', () => {
    said.textContent = 'You were not let in.';
  });
  arena.bind('pusher:member_added', (member) => {
    names.set(member.id, member.info.name);
    count();
  });
  arena.bind('pusher:member_removed', (member) => {
    names.delete(member.id);
    count();
  });
  document.activeElement.blur();
});

let told = '0,0';
function steer(dx, dy) {
  if (`${dx},${dy}` === told || !arena?.subscribed) return;
  told = `${dx},${dy}`;
  arena.trigger('client-input', { dx, dy });
}

const keys = new Set();
const directions = {
  ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1],
  KeyA: [-1, 0], KeyD: [1, 0], KeyW: [0, -1], KeyS: [0, 1],
};
function pressed(event) {
  if (!(event.code in directions) || event.target.tagName === 'INPUT') return;
  event.preventDefault();
  if (event.type === 'keydown') keys.add(event.code);
  else keys.delete(event.code);
  const sum = [...keys].reduce(([x, y], code) => [x + directions[code][0], y + directions[code][1]], [0, 0]);
  steer(Math.sign(sum[0]), Math.sign(sum[1]));
}
addEventListener('keydown', pressed);
addEventListener('keyup', pressed);
addEventListener('blur', () => {
  keys.clear();
  steer(0, 0);
});

/** A finger or a mouse button that is held: towards it, in one of eight directions, so that few events are sent. */
function pointed(event) {
  const own = state.players[me];
  if (!own || event.buttons === 0) return steer(0, 0);
  const scale = canvas.width / canvas.clientWidth;
  const [x, y] = [event.offsetX * scale - own[0], event.offsetY * scale - own[1]];
  const way = (a, b) => (Math.abs(a) < 8 || Math.abs(a) * 2 < Math.abs(b) ? 0 : Math.sign(a));
  steer(way(x, y), way(y, x));
}
for (const type of ['pointerdown', 'pointermove', 'pointerup', 'pointerleave']) canvas.addEventListener(type, pointed);

const context = canvas.getContext('2d');
context.textAlign = 'center';
context.font = '14px system-ui, sans-serif';
function draw() {
  context.clearRect(0, 0, canvas.width, canvas.height);
  for (const [id, [x, y]] of Object.entries(state.players)) {
    const hue = [...id].reduce((sum, c) => (sum * 31 + c.charCodeAt(0)) % 360, 7);
    context.fillStyle = `hsl(${hue} 70% 55%)`;
    context.beginPath();
    context.arc(x, y, id === me ? 12 : 9, 0, 2 * Math.PI);
    context.fill();
    if (names.has(id)) context.fillText(names.get(id), x, y - 16);
  }
  requestAnimationFrame(draw);
}
requestAnimationFrame(draw);
