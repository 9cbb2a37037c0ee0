"""Tests of the root app: both pharmacies, against a running server with two workers."""
