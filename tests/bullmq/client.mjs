// What others do on our queues. usage: node client.mjs ACT URL PREFIX QUEUE [COUNT]    prints one line of JSON
import { createBullBoard } from '@bull-board/api';
import { BullMQAdapter } from '@bull-board/api/bullMQAdapter';
import { Queue, QueueEvents, Worker } from 'bullmq';
import { Redis } from 'ioredis';

const [act, url, prefix, name, count] = process.argv.slice(2);
const connection = new Redis(url, { maxRetriesPerRequest: null });
const queue = new Queue(name, { connection, prefix });
const WAIT_MS = 50_000;

const acts = {
  // A worker takes jobs until it has ended so many. What is called `flaky` fails at its first attempt.
  async drain() {
    const ended = [];
    await new Promise((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`only ${ended.length} ended`)), WAIT_MS);
      const worker = new Worker(
        name,
        async (job) => {
          if (job.name === 'flaky' && job.attemptsMade === 0) throw new Error('the first attempt fails');
          await job.updateProgress(70);
          return { seen: job.data };
        },
        { connection, prefix, concurrency: 3 },
      );
      worker.on('error', reject);
      worker.on('completed', (job) => {
        ended.push({ id: job.id, name: job.name, data: job.data });
        if (ended.length < Number(count)) return;
        clearTimeout(late);
        worker.close().then(resolve, reject);
      });
    });
    return ended;
  },

  // A worker without a name takes one job, and ends it when a key says so.
  async hold() {
    let times = 0;
    const worker = new Worker(
      name,
      async () => {
        times += 1;
        while ((await connection.exists(`${prefix}:let-go`)) === 0) await new Promise((resolve) => setTimeout(resolve, 20));
      },
      { connection, prefix, concurrency: 1 },
    );
    const ended = await new Promise((resolve, reject) => {
      worker.on('error', reject);
      worker.on('completed', resolve);
    });
    await worker.close();
    return { id: ended.id, times };
  },

  // Adds jobs of every kind, and waits until somebody has ended all of them.
  async fill() {
    const events = new QueueEvents(name, { connection: connection.duplicate(), prefix });
    await events.waitUntilReady();
    const jobs = [
      await queue.add('plain', { n: 1 }),
      await queue.add('urgent', { n: 2 }, { priority: 7 }),
      await queue.add('late', { n: 3 }, { delay: 300 }),
      await queue.add('named', { n: 4 }, { jobId: 'a-name-of-its-own' }),
      ...(await queue.addBulk([5, 6].map((n) => ({ name: 'bulk', data: { n } })))),
    ];
    await Promise.all(jobs.map((job) => job.waitUntilFinished(events, WAIT_MS)));
    const states = await Promise.all(jobs.map((job) => job.getState()));
    await events.close();
    return { ids: jobs.map((job) => job.id), states };
  },

  // As somebody who empties a list with a dashboard, of which no event names a job.
  async clean() {
    return queue.clean(0, 100, 'delayed');
  },

  // What Bull Board would show, through the routes that its pages call.
  async board() {
    const routes = {};
    const server = new Proxy({}, {
      get: (_, method) => (value) => {
        routes[method] = value;
        return server;
      },
    });
    createBullBoard({ queues: [new BullMQAdapter(queue)], serverAdapter: server, options: { uiBasePath: '/', uiConfig: {} } });
    const route = routes.setApiRoutes.find((it) => [it.route].flat().includes('/api/queues'));
    const shown = {};
    for (const status of ['prioritized', 'active', 'completed', 'failed', 'delayed', 'waiting-children']) {
      const request = { queues: routes.setQueues, query: { activeQueue: name, status, page: '1', jobsPerPage: '50' }, params: {}, uiConfig: {} };
      const { body } = await route.handler(request);
      shown.counts = body.queues[0].counts;
      shown.paused = body.queues[0].isPaused;
      shown[status] = body.queues[0].jobs;
    }
    return shown;
  },

  async pause() {
    await queue.pause();
  },

  async resume() {
    await queue.resume();
  },

  // As somebody who removes a job with a dashboard.
  async remove() {
    return (await queue.getJob(count)).remove();
  },
};

const late = setTimeout(() => {
  console.error(`${act} has not come to its end`);
  process.exit(1);
}, WAIT_MS + 5_000);
try {
  console.log(JSON.stringify((await acts[act]()) ?? null));
} catch (error) {
  console.error(error);
  process.exit(1);
}
// A connection that a class of BullMQ was given stays open when that class is closed.
process.exit(0);
