// How a peer talks to the benchmark: it is started with one JSON argument, fills its queue, waits for a line, works the
// queue, and writes a JSON line at each milestone.

export const config = JSON.parse(process.argv[2]);

export function tell(event, more = {}) {
  const cpu = process.cpuUsage();
  const line = {
    event,
    cpu_us: cpu.user + cpu.system,
    max_rss_bytes: process.resourceUsage().maxRSS * 1024,
    ...more,
  };
  process.stdout.write(JSON.stringify(line) + "\n");
}

// go resolves when the benchmark says so.
export function go() {
  return new Promise((resolve) => process.stdin.once("data", resolve));
}

// A counter tells when the warm-up is over, when the measured part is, and resolves at the end.
export function counter() {
  const marks = [
    ["warm", config.warm],
    ["measured", config.warm + config.measured],
    ["worked", config.warm + config.measured + config.rest],
  ];
  let count = 0;
  let finished;
  const done = new Promise((resolve) => (finished = resolve));
  const add = (n) => {
    count += n;
    while (marks.length > 0 && count >= marks[0][1]) {
      tell(marks.shift()[0], { count });
    }
    if (marks.length === 0) finished();
  };
  return { add, done };
}

// batches yields [from, to) in steps.
export function* batches(total, size) {
  for (let from = 0; from < total; from += size) {
    yield [from, Math.min(from + size, total)];
  }
}
