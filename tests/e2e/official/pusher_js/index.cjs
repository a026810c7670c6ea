// In the place of pusher-js's own index of specs: those that need a server, over one transport.
require('core/pusher.ts'); // first: its modules need one another in this order

require('javascripts/integration/core/pusher_spec/index.js')([
  { transport: process.env.OFFICIAL_TRANSPORT, forceTLS: process.env.OFFICIAL_TLS !== '' },
]);
