"""Requests in, JSON lines out, and the files that belong to them.

`reader` and `writer` are the two ends of the connection, `dispatch` calls the function that serves
a request, and `context` is what that function works with. `transfer` moves files, `store` keeps
them by hash, and `device_lock` admits one run at a time.
"""
