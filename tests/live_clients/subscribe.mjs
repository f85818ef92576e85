// Subscribes to published posts with one of the clients that front ends use, and prints each result as a line of JSON.
// After a connection is lost, the client connects again and continues behind the last cursor.
// Arguments: the client, the address of the endpoint, and perhaps an access token.
import { ApolloClient, ApolloLink, HttpLink, InMemoryCache, gql } from '@apollo/client';
import { GraphQLWsLink } from '@apollo/client/link/subscriptions';
import { Client, fetchExchange, subscriptionExchange } from '@urql/core';
import { createClient as createSse } from 'graphql-sse';
import { createClient as createWs } from 'graphql-ws';
import WebSocket from 'ws';

const [, , kind, url, token] = process.argv;
const query = 'subscription ($after: String) { postPublished(after: $after) { cursor post { title } } }';
const variables = { after: null };

const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
const show = (result) => {
  if (result.data) variables.after = result.data.postPublished.cursor;
  process.stdout.write(`${JSON.stringify(result)}\n`);
};
const fail = (error) => {
  process.stdout.write(`${JSON.stringify({ failed: String(error?.reason ?? error?.message ?? error) })}\n`);
};
const sink = { next: show, error: fail, complete: () => process.stdout.write('{"complete":true}\n') };

const socket = () =>
  createWs({
    url: url.replace('http', 'ws'),
    webSocketImpl: WebSocket,
    connectionParams: token ? { authorization: `Bearer ${token}` } : {},
    retryAttempts: 100,
    retryWait: () => wait(100),
    shouldRetry: () => true,
  });
const events = (singleConnection) =>
  createSse({
    url,
    singleConnection,
    headers: token ? { authorization: `Bearer ${token}` } : {},
    retryAttempts: 100,
    retry: () => wait(100),
  });

const clients = {
  'graphql-ws': () => socket().subscribe({ query, variables }, sink),
  'graphql-sse': () => events(false).subscribe({ query, variables }, sink),
  'graphql-sse, single connection': () => events(true).subscribe({ query, variables }, sink),
  apollo: () => {
    const link = ApolloLink.split(
      ({ operationType }) => operationType === 'subscription',
      new GraphQLWsLink(socket()),
      new HttpLink({ uri: url }),
    );
    const client = new ApolloClient({ link, cache: new InMemoryCache() });
    client.subscribe({ query: gql(query), variables }).subscribe(sink);
  },
  urql: () => {
    const ws = socket();
    const forward = subscriptionExchange({
      forwardSubscription: (request) => ({
        subscribe: (observer) => ({ unsubscribe: ws.subscribe({ ...request, query: request.query ?? '' }, observer) }),
      }),
    });
    new Client({ url, exchanges: [forward], preferGetMethod: false }).subscription(query, variables).subscribe(show);
  },
  'urql over HTTP': () => {
    const client = new Client({ url, exchanges: [fetchExchange], fetchSubscriptions: true, preferGetMethod: false });
    client.subscription(query, variables).subscribe(show);
  },
  // Queries and mutations over a socket.
  'graphql-ws, run': async () => {
    const client = socket();
    for await (const result of client.iterate({ query: '{ viewer { username } }' })) show({ ran: result.data });
    await client.dispose();
  },
};

process.on('unhandledRejection', fail);
await clients[kind]();
