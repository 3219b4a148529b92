"""Runs fastpysgi as its author does for published figures, with its limits lifted: MODULE:APP PORT WORKERS."""

import importlib
import sys

import fastpysgi

target, port, workers = sys.argv[1:]
module, _, name = target.partition(":")
sys.path.insert(0, ".")
server = fastpysgi.server
server.backlog = 4096
server.read_buffer_size = 256 * 1024
server.max_content_length = 2 << 30
server.loop_timeout = 1
fastpysgi.run(getattr(importlib.import_module(module), name), "127.0.0.1", int(port), workers=int(workers), loglevel=0)
