// Runs every audit of graphql-http against the server at the given URL and prints the results as JSON.
import { auditServer } from 'graphql-http';

const results = await auditServer({ url: process.argv[2], fetchFn: fetch });
const audits = await Promise.all(
  results.map(async ({ name, status, reason, response }) => ({
    name,
    status,
    reason: reason ?? null,
    answer: status === 'ok' ? null : await response?.text().catch(() => null),
  })),
);
console.log(JSON.stringify(audits));
