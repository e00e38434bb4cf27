"""Durable records of the gateway: approvals, endorsements, leases, signals, connections and stops.

`engine` names the operations, `sqlite` and `postgresql` carry them out, and `records` seals and reads the values. One file
or database has all of them: a change may cover several kinds, and each record goes by its own id. Snapshots of tasks and the index of the journal are
files of their own: both are made again from the journal.
"""
