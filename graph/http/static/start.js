// Shows GraphiQL for the endpoint that this page came from. Its address may bring an operation along, as `?query=` (or
// `?q=`) and `?variables=`, and keeps what is edited, so that it can be reloaded and handed on. Headers are never put
// there: they hold tokens.
"use strict";

// Proxies refuse long addresses, commonly from 8,192 characters on. GraphiQL itself remembers longer texts, too.
const SEARCH_LENGTH_MAX = 6000;

const given = new URLSearchParams(window.location.search);
const query = given.get("query") ?? given.get("q") ?? undefined;
const opening = JSON.parse(document.getElementById("opening").textContent);

function remember(name, value) {
  given.delete("q");
  if (value) {
    given.set(name, value);
  } else {
    given.delete(name);
  }
  const search = given.toString();
  const isKept = search && search.length <= SEARCH_LENGTH_MAX;
  window.history.replaceState(null, "", isKept ? `?${search}` : window.location.pathname);
}

const root = ReactDOM.createRoot(document.getElementById("graphiql"));
root.render(
  React.createElement(GraphiQL, {
    fetcher: GraphiQL.createFetcher({ url: window.location.pathname }),
    query,
    variables: given.get("variables") ?? undefined,
    defaultTabs: query === undefined ? opening : undefined,
    onEditQuery: (text) => remember("query", text),
    onEditVariables: (variables) => remember("variables", variables),
    defaultEditorToolsVisibility: true,
    inputValueDeprecation: true,
  }),
);
