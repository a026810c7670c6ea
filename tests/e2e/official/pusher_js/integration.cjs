// What the specs call to name channels and to trigger.
exports.API_URL = process.env.OFFICIAL_API;

exports.describe = (name, body) => describe(name, body);

exports.getRandomName = (prefix) => `${prefix}_${Date.now()}_${Math.floor(Math.random() * 1000000)}`;

exports.sendAPIMessage = ({ url, channel, event, data }) => {
  const encode = (text) => Buffer.from(text).toString('base64');
  const query = new URLSearchParams({
    channel: encode(channel), event: encode(event), data: encode(JSON.stringify(data)),
  });
  fetch(`${url}/1?${query}`);
};
