"""The Python part of Uroboros: what an app process does once, and what Python says better than C."""
