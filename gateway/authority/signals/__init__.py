"""The receiver of signals from identity providers (Shared Signals Framework 1.0, CAEP 1.0).

`set`, `subjects`, `caep`, `register` and `watch` are pure. `store` keeps signals over a restart. `receiver` takes events in.
`transmitter` and `polling` fetch them, and notice silence."""
