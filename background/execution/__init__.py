"""Own the way from a claimed run to an outcome; writes no rows."""
