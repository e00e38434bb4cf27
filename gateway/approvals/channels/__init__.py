"""Channels to people: each sends messages about questions, beside calls.

`notice` has the messages, and `channel` the interface of each kind. `throttle` has the pace, `sender` the queue of one channel, and
`notifier` the ties between channels and the desk. A new kind needs one module and one line in `building`. A channel whose answers
count as votes, such as CIBA, gives them to the desk like the socket does.
"""
