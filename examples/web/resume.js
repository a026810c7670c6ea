// Lets pusher-js go on where it stopped: after a lost connection each channel is sent what it missed, and nothing twice.
// The same where a client has read too slowly, and the server has dropped some of what waited for it.
//
//   const pusher = new Pusher(KEY, {…});
//   resume(pusher, (channel) => location.reload());   // that channel's state has to be fetched anew
//
// For channels whose rule keeps a history; all others are as before. A channel that could not be told what it missed gets
// `fanfare:lost`, behind that everything that is kept, as if it came for the first time.
export function resume(pusher, lost = () => {}) {
  const places = new Map(); // channel: the id of the last event that it has been given
  const replaying = new Set(); // channels that are sent all that was kept: they stand nowhere before its end
  const filling = new Set(); // channels that have asked again for what was dropped, and have no answer yet
  const filtered = new WeakSet(); // the objects of those that have ever done so

  const send = pusher.send_event.bind(pusher);
  pusher.send_event = (event, data, channel) => {
    const since = event === 'pusher:subscribe' ? places.get(data.channel) : undefined;
    return send(event, since === undefined ? data : { ...data, since }, channel);
  };

  const leave = pusher.unsubscribe.bind(pusher);
  pusher.unsubscribe = (channel) => {
    places.delete(channel);
    replaying.delete(channel);
    return leave(channel); // one that is filling stays so until it is answered: what comes before that is not for it
  };

  const tell = (name) => {
    pusher.channel(name)?.emit('fanfare:lost');
    lost(name);
  };

  // What was dropped is in the history, and what is on its way behind the hole comes again with it: until then it is not
  // given to the page.
  const fill = (name) => {
    const channel = pusher.channel(name);
    if (!channel?.subscribed) return; // has left it, or is filling already
    // To leave and come back would be seen by all others who are present.
    if (name.startsWith('presence-')) return tell(name);
    filling.add(name);
    if (!filtered.has(channel)) {
      filtered.add(channel);
      const handle = channel.handleEvent.bind(channel);
      channel.handleEvent = (event) => {
        if (/^pusher(_internal)?:/.test(event.event) || !filling.has(name)) handle(event);
      };
      channel.bind('pusher:subscription_error', () => {
        if (filling.delete(name) && !channel.subscriptionCancelled) tell(name); // nobody fills it now
      });
    }
    channel.unsubscribe();
    channel.subscribe();
  };

  // pusher-js drops what it does not know from messages, so they are read where they come in, after it has handled them.
  const heard = ({ data: text }) => {
    if (!text.includes('"id":') && !text.includes('pusher_internal:')) return;
    const { event, channel, data, id, replays, resumed } = JSON.parse(text);
    if (event === 'pusher_internal:subscription_succeeded') filling.delete(channel);
    if (!pusher.channel(channel)?.subscribed) return; // has left it since: what is still on its way is no place of it
    if (event === 'pusher_internal:subscription_succeeded') {
      const again = replaying.delete(channel) && !resumed; // it was cut off: what had come comes again
      // Who resumes is sent events in the order of ids, and stands at each of them.
      if (replays && !resumed) replaying.add(channel);
      if (resumed === false) places.delete(channel);
      if (resumed === false || again) tell(channel);
    } else if (event === 'pusher_internal:replayed') {
      replaying.delete(channel);
      places.set(channel, id);
      if (JSON.parse(data).gap) tell(channel);
    } else if (event === 'pusher_internal:gap') {
      fill(channel);
    } else if (id !== undefined && !replaying.has(channel)) {
      places.set(channel, id);
    }
  };
  const listen = () => pusher.connection.connection?.transport.bind('message', heard);
  pusher.connection.bind('connected', listen);
  if (pusher.connection.state === 'connected') listen();
  return places;
}
