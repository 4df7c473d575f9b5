"""A page for people at this machine: `loopback` serves it, `append_only` is the file that keeps what they did."""
