"""The soak: clients that check every answer of a real server while its network, database and workers fail.

- `world`: the database, the proxy before it, the server's processes, and who lives there.
- `wire`: one HTTP connection of a client.
- `oracle`: what each answer may be; violations, and counts of everything.
- `reads`, `writes`: what clients ask for, each with what its answer must be.
- `clients`, `driving`: one client; all of them, and what they do next.
- `journal`: what was asked to be written, noted before it is sent and after it is answered.
- `faults`: what goes wrong, on a schedule drawn from the seed; `network_proxy`, `processes`: how.
- `ledger`, `endgame`: what must hold when all is quiet again.

World, wire, oracle, journal, faults and what they stand on serve `bench.chaos` and the tests, too: there is one of
each.
"""
