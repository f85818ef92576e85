// PostGraphile 5: the schema is derived from the tables, and a planner turns an operation into few statements.
//
// Why it is fair: Amber is the preset that its documentation recommends, and grafserv on Node's own HTTP server is its
// fastest setup. It runs in production mode with cached plans, on eight connections. Its role may only read, so there
// are no mutations. `condition` selects published posts, which costs less than row level security. The filter "at least
// this many views" needs its connection filter plugin.
import { createServer } from 'node:http'
import { makePgService } from 'postgraphile/adaptors/pg'
import { PostGraphileAmberPreset } from 'postgraphile/presets/amber'
import { grafserv } from 'postgraphile/grafserv/node'
import { postgraphile } from 'postgraphile'
import { PostGraphileConnectionFilterPreset } from 'postgraphile-plugin-connection-filter'
import pg from 'pg'

const url = new URL(process.env.BENCH_DATABASE_URL.replace('@/', '@localhost/'))
const pool = new pg.Pool({
  host: url.searchParams.get('host'),
  port: Number(url.searchParams.get('port')),
  user: url.username,
  database: url.pathname.slice(1),
  max: 8,
  options: '-c jit=off'
})
const preset = {
  extends: [PostGraphileAmberPreset, PostGraphileConnectionFilterPreset],
  pgServices: [makePgService({ pool, schemas: ['public'] })],
  grafserv: { graphqlPath: '/graphql', graphiql: false, websockets: false, watch: false },
  grafast: { explain: false }
}
const server = createServer()
const instance = postgraphile(preset).createServ(grafserv)
await instance.addTo(server)
server.listen(Number(process.env.BENCH_PORT), '127.0.0.1')
