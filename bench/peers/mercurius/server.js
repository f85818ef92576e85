// Mercurius with its JIT, loaders, and hand-written SQL: a fast GraphQL server on Node.
//
// Why it is fair: operations are compiled at their first use (`jit: 1`). Mercurius' own loaders load each edge once for
// all parents. Statements are named, so that `pg` prepares each one once per connection, of which there are eight. Only
// the columns that the cases need are selected. It has no log, no limits and no metrics. Its mutations keep Folio's
// promises, with the statements that Folio sends.
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
  options: '-c jit=off'
})
const run = async (client, name, text, values) => (await client.query({ name, text, values })).rows

const schema = `
  type User { id: ID! username: String! posts(first: Int!): [Post!]! }
  type Post { id: ID! title: String! views: Int! author: User! }
  type PostPage { totalCount: Int! nodes: [Post!]! }
  type Query {
    users(first: Int!): [User!]!
    post(id: ID!): Post
    posts(first: Int!): [Post!]!
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
// Keys are in a subquery, and lengths of pages (which GraphQL has checked to be integers) are numbers in the text: with
// either as a plain parameter, PostgreSQL plans the statement at each execution.
const KEYS = '(SELECT $1::bigint[])::bigint[]'

const resolvers = {
  Query: {
    users: (_, { first }) =>
      run(pool, `users ${first}`, `SELECT id, username FROM users ORDER BY ${NEWEST} LIMIT ${first}`, []),
    post: async (_, { id }) =>
      (await run(pool, 'post', 'SELECT id, title, author_id FROM posts WHERE id = $1 AND published', [id]))[0],
    posts: (_, { first }) =>
      run(pool, `posts ${first}`,
        `SELECT id, title, author_id FROM posts WHERE published ORDER BY ${NEWEST} LIMIT ${first}`, []),
    popularPosts: async (_, { first, viewsMin }) => {
      const [nodes, counted] = await Promise.all([
        run(pool, `popular ${first}`,
          `SELECT id, title, views FROM posts WHERE published AND views >= $1 ORDER BY views DESC, id DESC LIMIT ${first}`,
          [viewsMin]),
        run(pool, 'counted', 'SELECT count(*) AS n FROM posts WHERE published AND views >= $1', [viewsMin])
      ])
      return { nodes, totalCount: counted[0].n }
    }
  },
  Mutation: {
    updatePost: (_, { input }, context) => written(async (client) => {
      const viewer = await caller(client, context)
      const locked = await run(client, 'lock_post',
        'SELECT version FROM posts WHERE id = $1 AND author_id = $2 FOR NO KEY UPDATE', [input.id, viewer])
      if (!locked.length) return { post: null, userErrors: [{ code: 'NOT_FOUND' }] }
      const rows = await run(client, 'update_post',
        'UPDATE posts SET title = $2, version = version + 1, updated_at = clock_timestamp() WHERE id = $1 ' +
        'RETURNING id, title', [input.id, input.title])
      return { post: rows[0], userErrors: [] }
    }),
    transfer: (_, { input }, context) => written((client) => moved(client, input, context))
  }
}

const loaders = {
  Post: {
    author: async (queries) => {
      const ids = [...new Set(queries.map(({ obj }) => obj.author_id))]
      const rows = await run(pool, 'authors', `SELECT id, username FROM users WHERE id = ANY(${KEYS})`, [ids])
      const byId = new Map(rows.map((row) => [row.id, row]))
      return queries.map(({ obj }) => byId.get(obj.author_id))
    }
  },
  User: {
    posts: async (queries) => {
      const ids = [...new Set(queries.map(({ obj }) => obj.id))]
      const first = Math.max(...queries.map(({ params }) => params.first))
      const rows = await run(pool, `posts_of ${first}`, `
        SELECT p.id, p.title, p.author_id FROM unnest(${KEYS}) AS a (id) CROSS JOIN LATERAL (
          SELECT id, title, author_id FROM posts WHERE author_id = a.id AND published ORDER BY ${NEWEST} LIMIT ${first}
        ) p`, [ids])
      const byAuthor = new Map(ids.map((id) => [id, []]))
      for (const row of rows) byAuthor.get(row.author_id).push(row)
      return queries.map(({ obj, params }) => byAuthor.get(obj.id).slice(0, params.first))
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
  const rows = await run(client, 'session',
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
  const claimed = await run(client, 'claim',
    'INSERT INTO idempotency_keys (owner_id, key, operation, request_hash) VALUES ($1, $2, \'transfer\', $3) ' +
    'ON CONFLICT (owner_id, key) DO NOTHING RETURNING id', [viewer, key, hash])
  if (!claimed.length) {
    const [spent] = await run(client, 'spent',
      'SELECT t.id, k.request_hash FROM idempotency_keys k LEFT JOIN transactions t ON t.key_id = k.id ' +
      'WHERE k.owner_id = $1 AND k.key = $2', [viewer, key])
    if (!spent.request_hash.equals(hash)) refused('IDEMPOTENCY_KEY_REUSED')
    return { replayed: true, transaction: { id: spent.id }, userErrors: [] }
  }
  const locked = await run(client, 'lock_accounts',
    'SELECT id, owner_id, currency_code, balance FROM accounts WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE',
    [[source, target]])
  const from = locked.find((row) => row.id === source)
  const to = locked.find((row) => row.id === target)
  const units = BigInt(amount.replace('.', ''))
  if (!from || !to || from.owner_id !== viewer) refused('ACCOUNT_NOT_FOUND')
  if (from.currency_code !== to.currency_code) refused('CURRENCY_MISMATCH')
  if (BigInt(from.balance) < units) refused('INSUFFICIENT_FUNDS')
  const [transaction] = await run(client, 'post_to_ledger', `
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
