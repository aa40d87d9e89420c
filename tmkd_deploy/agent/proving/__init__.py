"""What `doctor --prove` asks of a device beyond what a run does; nothing here changes a setting.

`board_files` quotes what the board says of itself; `trtexec_times` and `kit_build` run `trtexec`;
`power_comparison` reads two sources of power at once; `foreign_engine` opens an engine that must be
refused; `cpp_run` builds the C++ runtime and runs it; `remove_installed` takes back
what `install` has kept.
"""
