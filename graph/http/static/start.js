// Shows GraphiQL for the endpoint that this page came from. `?q=` may bring a document along, and `?variables=`;
// `?query=` would run it. Headers are never put into the address: they hold tokens.
"use strict";

const given = new URLSearchParams(window.location.search);

function remember(name, value) {
  if (value) {
    given.set(name, value);
  } else {
    given.delete(name);
  }
  const search = given.toString();
  window.history.replaceState(null, "", search ? `?${search}` : window.location.pathname);
}

const root = ReactDOM.createRoot(document.getElementById("graphiql"));
root.render(
  React.createElement(GraphiQL, {
    fetcher: GraphiQL.createFetcher({ url: window.location.pathname }),
    query: given.get("q") ?? undefined,
    variables: given.get("variables") ?? undefined,
    onEditQuery: (query) => remember("q", query),
    onEditVariables: (variables) => remember("variables", variables),
    defaultEditorToolsVisibility: true,
    inputValueDeprecation: true,
  }),
);
