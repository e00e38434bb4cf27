"""The native core, an option: functions of the gateway in Rust (`core/`). The Python of the gateway is their
specification. `choice` chooses at the start, `binding` puts the chosen functions into their places."""
