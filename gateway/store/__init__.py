"""Durable records of the gateway: approvals, endorsements, leases, signals, connections and stops.

`engine` names the operations, `sqlite` carries them out in one file, and `records` seals and reads the values.
Snapshots of tasks and the index of the journal are files of their own: both are made again from the journal.
"""
