// Mercurius with its JIT, loaders, and hand-written SQL: a fast GraphQL server on Node.
//
// Why it is fair: operations are compiled at their first use (`jit: 1`). Mercurius' own loaders load each edge once for
// all parents, and do not compute keys for a cache that no request would use. Statements are named, so that `pg` prepares
// each one once per connection, of which there are eight. They select the columns that an operation selects. Instants
// are passed on as PostgreSQL's text. It has no log, no limits and no metrics. Its mutations keep Folio's promises, with
// the statements that Folio sends.
import { createHash, createHmac, timingSafeEqual } from 'node:crypto'
import Fastify from 'fastify'
import mercurius from 'mercurius'
import pg from 'pg'

const SECRET = process.env.BENCH_SECRET_KEY
const url = new URL(process.env.BENCH_DATABASE_URL.replace('@/', '@localhost/'))
const pool = new pg.Pool({
  host: url.searchParams.get('host'),
  port: Number(url.searchParams.get('port')),
  user: url.username,
  database: url.pathname.slice(1),
  max: 8,
  options: '-c jit=off -c TimeZone=UTC'
})
// Instants as in RFC 3339; the session's time zone is UTC. A Date would lose the microseconds, and cost more.
pg.types.setTypeParser(pg.types.builtins.TIMESTAMPTZ, (text) => text.replace(' ', 'T') + ':00')
// Statements are prepared: each text has a name.
const names = new Map()
async function run (client, text, values) {
  let name = names.get(text)
  if (!name) names.set(text, name = `s${names.size}`)
  return (await client.query({ name, text, values })).rows
}

const schema = `
  type User { id: ID! username: String! createdAt: String! posts(first: Int!): [Post!]! }
  type Post { id: ID! title: String! content: String! views: Int! createdAt: String! author: User! }
  type PostPage { totalCount: Int! nodes: [Post!]! }
  type Query {
    user(id: ID!): User
    users(first: Int!, after: String): [User!]!
    post(id: ID!): Post
    posts(first: Int!, after: String): [Post!]!
    postsOfPeriod(first: Int!, since: String!, until: String!): [Post!]!
    popularPosts(first: Int!, viewsMin: Int!): PostPage!
  }
  type UserError { code: String! }
  type Transaction { id: ID! }
  type UpdatePostPayload { post: Post userErrors: [UserError!]! }
  type TransferPayload { replayed: Boolean! transaction: Transaction userErrors: [UserError!]! }
  input UpdatePostInput { id: ID! title: String! }
  input TransferInput { fromAccountId: ID! toAccountId: ID! amount: String! idempotencyKey: String! }
  type Mutation {
    updatePost(input: UpdatePostInput!): UpdatePostPayload!
    transfer(input: TransferInput!): TransferPayload!
  }
`

const NEWEST = 'created_at DESC, id DESC'
// Keys and bounds are in subqueries, and lengths of pages (which GraphQL has checked to be integers) are numbers in the
// text: with either as a plain parameter, PostgreSQL plans the statement at each execution.
const KEYS = '(SELECT $1::bigint[])::bigint[]'
const AFTER = '(created_at, id) < ((SELECT $1::timestamptz), (SELECT $2::bigint))'
const position = (after) => [after.slice(0, after.indexOf(',')), after.slice(after.indexOf(',') + 1)]

// The columns of the fields that an operation selects. A compiled operation always passes the same nodes.
const COLUMNS = {
  id: 'id', username: 'username', title: 'title', content: 'content', views: 'views', createdAt: 'created_at AS "createdAt"',
  author: 'author_id'
}
const known = new WeakMap()
function columns (info, always = 'id') {
  const node = info.fieldNodes[0]
  let found = known.get(node)
  if (!found) {
    const nodes = node.selectionSet.selections.find(({ name }) => name.value === 'nodes')
    const fields = (nodes ?? node).selectionSet.selections.map(({ name }) => COLUMNS[name.value]).filter(Boolean)
    known.set(node, found = [...new Set([always, ...fields])].join(', '))
  }
  return found
}

// A page of a list, newest first, after a cursor or from the start.
function page (table, condition, { first, after }, info) {
  const where = [condition, after && AFTER].filter(Boolean).join(' AND ')
  const text = `SELECT ${columns(info)} FROM ${table} ${where && 'WHERE ' + where} ORDER BY ${NEWEST} LIMIT ${first}`
  return run(pool, text, after ? position(after) : [])
}
const one = async (table, condition, id, info) => {
  const text = `SELECT ${columns(info)} FROM ${table} WHERE id = $1 ${condition}`
  return (await run(pool, text, [id]))[0]
}

const resolvers = {
  Query: {
    user: (_, { id }, context, info) => one('users', '', id, info),
    users: (_, args, context, info) => page('users', '', args, info),
    post: (_, { id }, context, info) => one('posts', 'AND published', id, info),
    posts: (_, args, context, info) => page('posts', 'published', args, info),
    postsOfPeriod: (_, { first, since, until }, context, info) => {
      const text = `SELECT ${columns(info)} FROM posts WHERE published AND created_at >= (SELECT $1::timestamptz) ` +
        `AND created_at < (SELECT $2::timestamptz) ORDER BY views DESC, id DESC LIMIT ${first}`
      return run(pool, text, [since, until])
    },
    popularPosts: async (_, { first, viewsMin }, context, info) => {
      const seen = 'published AND views >= (SELECT $1::bigint)'
      const text = `SELECT ${columns(info)} FROM posts WHERE ${seen} ORDER BY views DESC, id DESC LIMIT ${first}`
      const [nodes, counted] = await Promise.all([
        run(pool, text, [viewsMin]),
        run(pool, `SELECT count(*) AS n FROM posts WHERE ${seen}`, [viewsMin])
      ])
      return { nodes, totalCount: counted[0].n }
    }
  },
  Mutation: {
    updatePost: (_, { input }, context) => written(async (client) => {
      const viewer = await caller(client, context)
      const locked = await run(client,
        'SELECT version FROM posts WHERE id = $1 AND author_id = $2 FOR NO KEY UPDATE', [input.id, viewer])
      if (!locked.length) return { post: null, userErrors: [{ code: 'NOT_FOUND' }] }
      const rows = await run(client,
        'UPDATE posts SET title = $2, version = version + 1, updated_at = clock_timestamp() WHERE id = $1 ' +
        'RETURNING id, title', [input.id, input.title])
      return { post: rows[0], userErrors: [] }
    }),
    transfer: (_, { input }, context) => written((client) => moved(client, input, context))
  }
}

const loaders = {
  Post: {
    author: {
      async loader (queries) {
        const ids = [...new Set(queries.map(({ obj }) => obj.author_id))]
        const text = `SELECT ${columns(queries[0].info)} FROM users WHERE id = ANY(${KEYS})`
        const rows = await run(pool, text, [ids])
        const byId = new Map(rows.map((row) => [row.id, row]))
        return queries.map(({ obj }) => byId.get(obj.author_id))
      },
      opts: { cache: false }
    }
  },
  User: {
    posts: {
      async loader (queries) {
        const ids = [...new Set(queries.map(({ obj }) => obj.id))]
        const first = Math.max(...queries.map(({ params }) => params.first))
        const selected = columns(queries[0].info, 'author_id')
        const text = `
          SELECT p.* FROM unnest(${KEYS}) AS a (id) CROSS JOIN LATERAL (
            SELECT ${selected} FROM posts WHERE author_id = a.id AND published ORDER BY ${NEWEST} LIMIT ${first}
          ) p`
        const rows = await run(pool, text, [ids])
        const byAuthor = new Map(ids.map((id) => [id, []]))
        for (const row of rows) byAuthor.get(row.author_id).push(row)
        return queries.map(({ obj, params }) => byAuthor.get(obj.id).slice(0, params.first))
      },
      opts: { cache: false }
    }
  }
}

async function written (work) {
  const client = await pool.connect()
  try {
    await client.query('BEGIN')
    const result = await work(client)
    await client.query('COMMIT')
    return result
  } catch (error) {
    await client.query('ROLLBACK')
    throw error
  } finally {
    client.release()
  }
}

async function caller (client, { token }) {
  const [head, claims, signature] = token.split('.')
  const right = createHmac('sha256', SECRET).update(`${head}.${claims}`).digest()
  if (!timingSafeEqual(right, Buffer.from(signature, 'base64url'))) throw new Error('bad token')
  const { sub, sid, exp } = JSON.parse(Buffer.from(claims, 'base64url'))
  if (exp < Date.now() / 1000) throw new Error('expired')
  const rows = await run(client,
    'SELECT u.id FROM users u JOIN sessions s ON s.user_id = u.id WHERE s.id = $1 AND u.id = $2 ' +
    'AND s.ended_at IS NULL AND s.expires_at > clock_timestamp() AND u.is_active', [sid, sub])
  if (!rows.length) throw new Error('no session')
  return rows[0].id
}

// The same promises as Folio's: the key is claimed first, rows are locked in the order of their ids, balances and
// ledger row are written in one transaction, and a repeated key moves nothing.
async function moved (client, input, context) {
  const { fromAccountId: source, toAccountId: target, amount, idempotencyKey: key } = input
  const viewer = await caller(client, context)
  const hash = createHash('sha256').update(`${source} ${target} ${amount}`).digest()
  const refused = (code) => { throw new Error(code) }
  const claimed = await run(client,
    'INSERT INTO idempotency_keys (owner_id, key, operation, request_hash) VALUES ($1, $2, \'transfer\', $3) ' +
    'ON CONFLICT (owner_id, key) DO NOTHING RETURNING id', [viewer, key, hash])
  if (!claimed.length) {
    const [spent] = await run(client,
      'SELECT t.id, k.request_hash FROM idempotency_keys k LEFT JOIN transactions t ON t.key_id = k.id ' +
      'WHERE k.owner_id = $1 AND k.key = $2', [viewer, key])
    if (!spent.request_hash.equals(hash)) refused('IDEMPOTENCY_KEY_REUSED')
    return { replayed: true, transaction: { id: spent.id }, userErrors: [] }
  }
  const locked = await run(client,
    'SELECT id, owner_id, currency_code, balance FROM accounts WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE',
    [[source, target]])
  const from = locked.find((row) => row.id === source)
  const to = locked.find((row) => row.id === target)
  const units = BigInt(amount.replace('.', ''))
  if (!from || !to || from.owner_id !== viewer) refused('ACCOUNT_NOT_FOUND')
  if (from.currency_code !== to.currency_code) refused('CURRENCY_MISMATCH')
  if (BigInt(from.balance) < units) refused('INSUFFICIENT_FUNDS')
  const [transaction] = await run(client, `
    WITH moved AS (
      UPDATE accounts SET balance = balance + CASE WHEN id = $1 THEN -$3::bigint ELSE $3::bigint END
      WHERE id IN ($1, $2)
    )
    INSERT INTO transactions (from_id, to_id, amount, key_id) VALUES ($1, $2, $3, $4) RETURNING id`,
  [source, target, units, claimed[0].id])
  return { replayed: false, transaction, userErrors: [] }
}

const app = Fastify()
app.register(mercurius, {
  schema,
  resolvers,
  loaders,
  jit: 1,
  context: (request) => ({ token: request.headers.authorization?.slice(7) })
})
await app.listen({ port: Number(process.env.BENCH_PORT), host: '127.0.0.1' })
