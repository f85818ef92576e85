// Shows GraphiQL for the endpoint of this page. The page's address may contain an operation, as `?query=` (or `?q=`) and
// `?variables=`. Edits are kept in the address after `#`, so that they survive a reload and can be shared. Browsers do
// not send that part to the server, whose logs would keep a password. Headers contain tokens and are not kept.
"use strict";

const given = new URLSearchParams(window.location.search);
for (const [name, value] of new URLSearchParams(window.location.hash.slice(1))) {
  given.set(name, value);
}
const query = given.get("query") ?? given.get("q") ?? undefined;
const opening = JSON.parse(document.getElementById("opening").textContent);

let written = window.location.hash;

function remember(name, value) {
  if (window.location.hash !== written) {
    return; // another link has been opened, and the page is about to reload: an edit must not replace the link
  }
  given.delete("q");
  if (value) {
    given.set(name, value);
  } else {
    given.delete(name);
  }
  const kept = given.toString();
  window.history.replaceState(null, "", window.location.pathname + (kept ? `#${kept}` : ""));
  written = window.location.hash;
}

// The browser does not reload when a link to this page with another `#` part is pasted into its address bar.
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
