"""Pestle beside Parse Server on the same MongoDB: throughput, latency, memory (``make bench``)."""
