// pg-boss with batches of a thousand, fetched and completed without a pause between them.
import { PgBoss } from "pg-boss";
import { batches, config, counter, go, tell } from "./common.mjs";

const queue = "bench";
const batchSize = 1000;
const loops = 2;
const total = config.warm + config.measured + config.rest;

const boss = new PgBoss({ connectionString: config.url, max: 10, supervise: false, schedule: false });
boss.on("error", (error) => process.stderr.write(`${error}\n`));
await boss.start();
await boss.createQueue(queue);
await boss.deleteAllJobs(queue);
for (const [from, to] of batches(total, 5000)) {
  const jobs = [];
  for (let n = from; n < to; n++) jobs.push({ data: { n } });
  await boss.insert(queue, jobs);
}
await boss.getDb().executeSql("ANALYZE pgboss.job");
tell("ready");
await go();

const ended = counter();
async function loop() {
  for (;;) {
    const jobs = await boss.fetch(queue, { batchSize });
    if (jobs.length === 0) return;
    await boss.complete(queue, jobs.map((job) => job.id));
    ended.add(jobs.length);
  }
}
await Promise.all(Array.from({ length: loops }, loop));
await ended.done;
const { rows } = await boss.getDb().executeSql("SELECT count(*)::int AS n FROM pgboss.job WHERE state < 'completed'");
tell("done", { left: rows[0].n });
await boss.stop({ graceful: false });
process.exit(0);
