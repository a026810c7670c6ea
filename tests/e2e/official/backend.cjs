// Runs the remote tests of the package for backends, but for those of proxies.
const path = require('node:path');
const Mocha = require('mocha');

const tests = path.join(path.dirname(require.resolve('pusher/package.json')), 'tests/remote/pusher');
const mocha = new Mocha({ reporter: 'dot' });
for (const file of ['get.js', 'trigger.js']) mocha.addFile(path.join(tests, file));
let passed = 0;
const run = mocha.run((failed) => {
  console.log(`passed ${passed}, failed ${failed}`);
  process.exitCode = failed === 0 ? 0 : 1;
});
run.on('pass', () => ++passed);
