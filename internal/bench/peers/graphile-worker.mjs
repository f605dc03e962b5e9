// graphile-worker with its local queue and with batched completion, as its documentation advises for throughput.
import { Logger, makeWorkerUtils, run } from "graphile-worker";
import { batches, config, counter, go, tell } from "./common.mjs";

const silent = new Logger(() => () => {});
const preset = {
  worker: {
    connectionString: config.url,
    maxPoolSize: 10,
    concurrentJobs: 24,
    localQueue: { size: 500 },
    completeJobBatchDelay: 0,
    failJobBatchDelay: 0,
    logger: silent,
  },
};
const total = config.warm + config.measured + config.rest;

const utils = await makeWorkerUtils({ preset });
await utils.migrate();
await utils.withPgClient((client) => client.query("TRUNCATE graphile_worker._private_jobs"));
for (const [from, to] of batches(total, 5000)) {
  const jobs = [];
  for (let n = from; n < to; n++) jobs.push({ identifier: "bench", payload: { n } });
  await utils.addJobs(jobs);
}
await utils.withPgClient((client) => client.query("ANALYZE graphile_worker._private_jobs"));
tell("ready");
await go();

const ended = counter();
const runner = await run({ preset, taskList: { bench: async () => {} } });
runner.events.on("job:complete", () => ended.add(1));
await ended.done;
await runner.stop();
const { rows } = await utils.withPgClient((client) =>
  client.query("SELECT count(*)::int AS n FROM graphile_worker._private_jobs"),
);
tell("done", { left: rows[0].n });
await utils.release();
process.exit(0);
