// Shows GraphiQL for the endpoint that this page came from. Its address may bring an operation along, as `?query=` (or
// `?q=`) and `?variables=`. What is edited is kept in the address behind `#`, so that it can be reloaded and handed on:
// browsers send nothing of it to the server, in whose logs a password would stay. Headers hold tokens and are not kept.
"use strict";

const given = new URLSearchParams(window.location.search);
for (const [name, value] of new URLSearchParams(window.location.hash.slice(1))) {
  given.set(name, value);
}
const query = given.get("query") ?? given.get("q") ?? undefined;
const opening = JSON.parse(document.getElementById("opening").textContent);

function remember(name, value) {
  given.delete("q");
  if (value) {
    given.set(name, value);
  } else {
    given.delete(name);
  }
  const kept = given.toString();
  window.history.replaceState(null, "", window.location.pathname + (kept ? `#${kept}` : ""));
}

// A link that is pasted over the address of this page is no new page to the browser.
window.addEventListener("hashchange", () => window.location.reload());

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
