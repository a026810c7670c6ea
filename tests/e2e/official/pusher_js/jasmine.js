// Runs one file of specs, in the order in which they stand: some need what others made.
import Jasmine from 'jasmine';

const runner = new Jasmine();
let passed = 0;
let failed = 0;
runner.clearReporters();
runner.addReporter({
  specDone(result) {
    if (result.status === 'passed') ++passed;
    if (result.status !== 'failed') return;
    ++failed;
    console.log(`failed: ${result.fullName}`);
    for (const failure of result.failedExpectations) console.log(`  ${failure.message}\n${failure.stack}`);
  },
  jasmineDone(result) {
    for (const failure of result.failedExpectations) console.log(failure.message);
  },
});
runner.randomizeTests(false);
runner.addSpecFile(process.argv[2]);
runner.exitOnCompletion = false;
const result = await runner.execute();
console.log(`passed ${passed}, failed ${failed}`);
process.exit(result.overallStatus === 'passed' ? 0 : 1);
