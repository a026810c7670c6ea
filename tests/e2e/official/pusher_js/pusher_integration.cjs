// The client that the specs test; only, it finds the server here and not at Pusher's.
const Pusher = require('core/pusher.ts').default;

const port = Number(process.env.OFFICIAL_PORT);
const tlsPort = Number(process.env.OFFICIAL_TLS_PORT);

module.exports = class extends Pusher {
  constructor(key, options) {
    super(key, {
      ...options, wsHost: '127.0.0.1', wsPort: port, wssPort: tlsPort,
      httpHost: '127.0.0.1', httpPort: port, httpsPort: tlsPort,
    });
  }
};
