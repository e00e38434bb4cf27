"""Values of an upstream, each tied to a single principal. `sessions`, `ownership` and `sessionless_exchanges` keep session ids,
request states and protocol tasks. `vault` keeps the credentials behind the handles of agents."""
