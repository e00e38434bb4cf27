"""Declared tasks: what a caller writes down before it acts. `contract` reads it, `tokens` names it, `selection` finds
it in a call, `endpoints` serves it. What a task has done is kept by `history`.
"""
