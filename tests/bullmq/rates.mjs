// How fast BullMQ is, each job with 1 KiB. usage: node rates.mjs URL JOBS    prints one line of JSON, jobs a second
import { Queue, Worker } from 'bullmq';
import { Redis } from 'ioredis';

const [url, count] = [process.argv[2], Number(process.argv[3])];
const connection = new Redis(url, { maxRetriesPerRequest: null });
const [prefix, name, BULK] = ['{rates}', 'email', 1024];
const queue = new Queue(name, { connection, prefix });
const payload = { text: 'x'.repeat(1024) };
const kept = { removeOnComplete: { count: 500 } };

// Jobs a second of `act`, which handles `jobs` of them.
async function rate(jobs, act) {
  const begun = process.hrtime.bigint();
  await act();
  return Math.round(jobs / (Number(process.hrtime.bigint() - begun) / 1e9));
}

// `callers` wait for one job each, again and again.
async function add(callers, jobs) {
  const share = Math.ceil(jobs / callers);
  const caller = async () => {
    for (let number = 0; number < share; number += 1) await queue.add('send_mail', payload, kept);
  };
  await Promise.all(Array.from({ length: callers }, caller));
}

async function fill(jobs) {
  for (let from = 0; from < jobs; from += BULK) {
    const many = Math.min(BULK, jobs - from);
    await queue.addBulk(Array.from({ length: many }, () => ({ name: 'send_mail', data: payload, opts: kept })));
  }
}

// One worker with so many jobs at once ends all that waits.
async function run(concurrency) {
  const { waiting } = await queue.getJobCounts('waiting');
  let ended = 0;
  const own = connection.duplicate();
  const worker = new Worker(name, async () => {}, { connection: own, prefix, concurrency, autorun: false });
  await worker.waitUntilReady();
  const found = await rate(waiting, () => new Promise((resolve, reject) => {
    worker.on('error', reject);
    worker.on('completed', () => {
      ended += 1;
      if (ended === waiting) resolve();
    });
    worker.run().catch(reject);
  }));
  await worker.close();
  // What was given to it stays open, and would keep this process for ever.
  own.disconnect();
  return found;
}

await queue.waitUntilReady();
const found = { add_1: await rate(count / 10, () => add(1, count / 10)) };
await run(64);
found.add_64 = await rate(count, () => add(64, count));
found.run_64 = await run(64);
found.add_bulk = await rate(count, () => fill(count));
found.run_bulk = await run(BULK);
await queue.close();
connection.disconnect();
console.log(JSON.stringify(found));
