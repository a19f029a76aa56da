"""Being written by the helper that wrote tests/engine/test_scheduler.py (2 h 34)."""
