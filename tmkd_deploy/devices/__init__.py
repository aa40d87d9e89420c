"""Devices: how to reach one, and a conversation with the agent that is sent to it.

`device` is the entry point: it reconnects, uploads and downloads. `session` is one connection to
an agent, over a `channel` to the process that `routes` or `ssh_route` starts; `payload` is what is
sent to it first.
"""
