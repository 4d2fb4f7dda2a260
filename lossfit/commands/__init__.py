"""The commands of ``lossfit``, one a file; each file's click command is called ``command``."""
