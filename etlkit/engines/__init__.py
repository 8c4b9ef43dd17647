"""Engines that start the workers of a shared run: Apache Beam and Ray."""
