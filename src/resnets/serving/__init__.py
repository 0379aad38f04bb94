"""Trained networks behind HTTP: a service for programs and a page for people."""
