"""Channels to people: each sends messages about questions, beside calls.

`notice` has the messages, and `channel` the interface of each kind. `throttle` has the pace, `sender` the queue of one
channel, and `notifier` the ties between channels and the desk. A new kind needs one module and one line in `building`.
A channel with votes as answers, such as CIBA, gives the votes to the desk like the socket does.
"""
