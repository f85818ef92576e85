import assert from "node:assert/strict";

import { FolioClient, untilAnswered } from "./client.js";
import {
  type AccountWithBalanceFragment,
  CreatePostDocument,
  MyAccountsDocument,
  OpenAccountDocument,
  type PostFilter,
  PostsPageDocument,
  type PostsPageQuery,
  type PostsPageQueryVariables,
  type PostWithAuthorFragment,
  SignInDocument,
  TransferDocument,
  type TransferInput,
  type TransferMutation,
} from "./folio.js";
import { createPostAdvice, signInAdvice, transferAdvice } from "./refusals.js";

const URL = process.env["EXAMPLE_URL"] ?? "http://127.0.0.1:8000/graphql";
const LOGIN = process.env["EXAMPLE_LOGIN"] ?? "ada";
const PASSWORD = process.env["EXAMPLE_PASSWORD"] ?? "folio demo";
const CURRENCY = "EUR";

async function signIn(client: FolioClient, login: string, password: string): Promise<void> {
  const { signIn } = await client.request(SignInDocument, { input: { login, password } });
  const [refusal] = signIn.userErrors;
  if (refusal) {
    throw new Error(signInAdvice(refusal));
  }
  client.accessToken = signIn.accessToken;
  console.log(`signed in as ${signIn.viewer?.username} until ${signIn.expiresAt}`);
}

/** Page after page, each asked for only when it is wanted. */
async function* pagesOfPosts(
  client: FolioClient,
  first: number,
  filter: PostFilter,
): AsyncGenerator<PostWithAuthorFragment[]> {
  let after: string | null = null;
  do {
    const variables: PostsPageQueryVariables = { first, after, filter };
    const { posts }: PostsPageQuery = await untilAnswered(() => client.request(PostsPageDocument, variables));
    yield posts.nodes;
    after = posts.pageInfo.hasNextPage ? posts.pageInfo.endCursor : null;
  } while (after !== null);
}

async function showPosts(client: FolioClient): Promise<void> {
  let number = 0;
  for await (const posts of pagesOfPosts(client, 3, { published: true })) {
    number += 1;
    for (const { title, author } of posts) {
      console.log(`page ${number}: "${title}" by ${author.profile?.displayName ?? author.username}`);
    }
    if (number === 2) {
      break;
    }
  }
}

async function createDraft(client: FolioClient, title: string): Promise<void> {
  const input = { title, content: "Every field of this was checked before it was sent.", published: false };
  // Sent once: without an idempotency key, a second attempt might create a second post.
  const { createPost } = await client.request(CreatePostDocument, { input });
  for (const refusal of createPost.userErrors) {
    console.log(`refused, ${refusal.code} at ${refusal.field?.join(".")}: ${createPostAdvice(refusal)}`);
  }
  if (createPost.post) {
    console.log(`created the draft ${createPost.post.id} at ${createPost.post.createdAt}`);
  }
}

/** Two accounts of the viewer's own in one currency, the fuller one first; opened where there are none. */
async function twoAccounts(client: FolioClient): Promise<[AccountWithBalanceFragment, AccountWithBalanceFragment]> {
  const { viewer } = await untilAnswered(() => client.request(MyAccountsDocument, {}));
  const accounts = viewer?.accounts.nodes.filter((account) => account.currencyCode === CURRENCY) ?? [];
  while (accounts.length < 2) {
    const { openAccount } = await client.request(OpenAccountDocument, { input: { currencyCode: CURRENCY } });
    if (!openAccount.account) {
      throw new Error(openAccount.userErrors[0]?.message);
    }
    accounts.push(openAccount.account);
  }
  accounts.sort((left, right) => (minor(left) < minor(right) ? 1 : -1));
  return [accounts[0]!, accounts[1]!];
}

/** The balance in cents. Amounts of one currency have the same number of fraction digits. */
function minor({ balance }: AccountWithBalanceFragment): bigint {
  assert(balance, "the balance is shown to the account's owner");
  return BigInt(balance.amount.replace(".", ""));
}

/** Moves money once, however often it has to be asked for. `replayed` tells that an earlier attempt had come through. */
async function transfer(client: FolioClient, input: TransferInput): Promise<TransferMutation["transfer"]> {
  const { transfer } = await untilAnswered(() => client.request(TransferDocument, { input }));
  for (const refusal of transfer.userErrors) {
    console.log(`refused, ${refusal.code} at ${refusal.field?.join(".")}: ${transferAdvice(refusal)}`);
  }
  return transfer;
}

async function moveMoney(client: FolioClient): Promise<void> {
  const [from, to] = await twoAccounts(client);
  const input: TransferInput = {
    fromAccountId: from.id,
    toAccountId: to.id,
    amount: "12.50",
    memo: "savings",
    // Made when the user decides on the transfer, and kept with it for as long as its outcome is unknown.
    idempotencyKey: crypto.randomUUID(),
  };

  loseNextAnswer = true;
  const first = await transfer(client, input);
  if (!first.transaction) {
    return;
  }
  const { id, amount } = first.transaction;
  console.log(`${id} moved ${amount.amount} ${amount.currencyCode}; replayed: ${first.replayed}`);
  console.log(`${from.id}: ${from.balance?.amount} -> ${first.transaction.from.balance?.amount}`);
  console.log(`${to.id}: ${to.balance?.amount} -> ${first.transaction.to.balance?.amount}`);
  assert.equal(first.replayed, true);
  assert.equal(minor(first.transaction.from), minor(from) - 1250n);
  assert.equal(minor(first.transaction.to), minor(to) + 1250n);

  const again = await transfer(client, input);
  console.log(`sent again: ${again.transaction?.id}; replayed: ${again.replayed}`);
  assert.deepEqual(again, first);

  // The key's outcome is final, a refusal too: whoever tries again with another amount makes a new key.
  await transfer(client, { ...input, amount: "99999999.00", idempotencyKey: crypto.randomUUID() });
}

let loseNextAnswer = false;

/** As fetch; but on demand the answer is lost on its way back, when the server has done the work. */
const unreliableFetch: typeof fetch = async (...request) => {
  const response = await fetch(...request);
  if (loseNextAnswer) {
    loseNextAnswer = false;
    await response.body?.cancel();
    console.log("the answer was lost");
    throw new TypeError("connection reset");
  }
  return response;
};

const client = new FolioClient(URL, unreliableFetch);
await signIn(client, LOGIN, PASSWORD);
await showPosts(client);
await createDraft(client, "Written by a typed client");
await createDraft(client, "   ");
await moveMoney(client);
