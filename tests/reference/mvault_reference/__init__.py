"""A second implementation of the Model Vault format, written from docs/FORMAT.md alone.

It is for reading and for testing. It favours clearness over speed and makes no attempt to be constant-time.
"""
