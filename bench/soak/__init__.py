"""The soak test: clients check every response of a real server while its network, database and workers fail.

- `world`: the database, the proxy in front of it, the server's processes, and the users.
- `wire`: one HTTP connection of a client.
- `oracle`: which responses are allowed; violations, and counts of all events.
- `reads`, `writes`: the operations of clients, each with its expected response.
- `clients`, `driving`: one client; all clients, and their actions.
- `journal`: all requested writes, recorded before they are sent and after their responses.
- `faults`: the faults, on a schedule drawn from the seed; `network_proxy`, `processes`: how they are made.
- `ledger`, `endgame`: what must hold after the faults have ended.

`bench.chaos` and the tests use world, wire, oracle, journal, faults and their helpers, too.
"""
