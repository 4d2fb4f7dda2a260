"""Benches: what lossfit costs and how exact it is.  See README.md in this folder."""
