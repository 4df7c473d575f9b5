"""Processes of a pool that are forked from one with the slow imports done: of a process of tests all share the one."""

import multiprocessing

FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(["tests.preloaded"])  # heeded by the first process alone
